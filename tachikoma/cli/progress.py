"""What is seen of a command at work: a spinner on a terminal, plain lines in a pipe."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, assert_never

from tachikoma.cli import words
from tachikoma.cli.terminal import Terminal
from tachikoma.model.events import Event, Notice, StepEnded, StepProgress, StepStarted

if TYPE_CHECKING:  # rich takes longer to load than a short command to run
    from rich.console import Console, RenderableType
    from rich.live import Live

_TEXT_COLUMNS = 48
_FRAMES_PER_S = 10
_BAR_COLUMNS = 12
_TIME_COLUMNS = 10
_LEAST_COLUMNS = 12
"""Less room than this is left empty: nothing readable fits."""


class Progress(Protocol):
    """Shows events until it is settled."""

    def show(self, event: Event) -> None:
        """Show one event."""
        ...

    def settle(self) -> None:
        """Leave nothing moving on the screen. Idempotent."""
        ...


class Silence:
    """Shows nothing."""

    def show(self, event: Event) -> None:
        """Do nothing."""

    def settle(self) -> None:
        """Do nothing."""


class Lines:
    """One plain line for each step begun and ended; with ``verbose`` for all else, too."""

    def __init__(self, put: Callable[[str], None], *, verbose: bool) -> None:
        self._put = put
        self._verbose = verbose

    def show(self, event: Event) -> None:
        """Write a line."""
        match event:
            case StepStarted(name, text):
                self._put(words.clean(f"{name}: {text}"))
            case StepProgress(text):
                if self._verbose:
                    self._put(words.clean(f"  {text}"))
            case StepEnded(name, spent):
                self._put(f"{name}: done in {words.seconds(spent)}")
            case Notice(text):
                self._put(words.clean(text))
            case _:
                assert_never(event)

    def settle(self) -> None:
        """Nothing moves."""


class Spinner:
    """The current step with a spinner and its time so far; above it what is done."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._console: Console | None = None
        self._live: Live | None = None
        self._step = ""
        self._within = StepProgress("")
        self._since = 0.0

    def show(self, event: Event) -> None:
        """Update the moving line, or add one above it."""
        match event:
            case StepStarted(_, text):
                self._step, self._within, self._since = (
                    text,
                    StepProgress(""),
                    self._terminal.monotonic(),
                )
                self._move()
            case StepProgress():
                self._within = event
            case StepEnded(_, spent):
                self._keep(self._step, spent)
                self.settle()
            case Notice(text):
                self._tell(text)
            case _:
                assert_never(event)

    def settle(self) -> None:
        """Take the moving line away."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def __rich__(self) -> RenderableType:
        """Give the moving line as it looks now (rich asks for it some times a second)."""
        from rich.spinner import Spinner as Frames
        from rich.text import Text

        now = self._terminal.monotonic()
        frame = Frames("dots", style="cyan").render(now)
        assert isinstance(frame, Text)
        room = self._text_columns()
        step = words.fit(words.clean(self._step), room)
        line = Text.assemble(frame, " ", step)
        room -= words.width(step)
        for text, style in ((self._bar(), "cyan"), (words.clean(self._within.text), "dim")):
            if text and room >= _LEAST_COLUMNS:
                shown = words.fit(text.replace("\n", " "), room - 2)
                line.append(f"  {shown}", style=style)
                room -= words.width(shown) + 2
        line.append(f"  {words.seconds(now - self._since)}", style="dim")
        return line

    def _bar(self) -> str:
        fraction = self._within.fraction
        if fraction is None:
            return ""
        full = round(min(1.0, max(0.0, fraction)) * _BAR_COLUMNS)
        return "█" * full + "░" * (_BAR_COLUMNS - full) + f" {fraction * 100:3.0f}%"

    def _move(self) -> None:
        from rich.live import Live

        self.settle()
        self._live = Live(
            self,
            console=self._to(),
            refresh_per_second=_FRAMES_PER_S,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()

    def _keep(self, text: str, spent: float) -> None:
        from rich.text import Text

        shown = words.fit(words.clean(text), self._text_columns())
        took = words.seconds(spent).rjust(_TIME_COLUMNS)
        done = (words.pad(shown, _TEXT_COLUMNS), "default")
        self._to().print(Text.assemble(("✓ ", "green"), done, (took, "dim")), soft_wrap=True)

    def _tell(self, text: str) -> None:
        from rich.text import Text

        first, *more = textwrap.wrap(words.clean(text), self._terminal.columns() - 2) or [""]
        self._to().print(Text.assemble(("• ", "cyan"), first), soft_wrap=True)
        for line in more:
            self._to().print(Text(f"  {line}"), soft_wrap=True)

    def _text_columns(self) -> int:
        return self._terminal.columns() - _TIME_COLUMNS - 4

    def _to(self) -> Console:
        if self._console is None:
            from rich.console import Console

            self._console = Console(
                file=self._terminal.err,
                force_terminal=True,
                no_color=not self._terminal.colour,
                highlight=False,
                emoji=False,
                markup=False,
            )
        return self._console
