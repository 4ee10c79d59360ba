"""What every command is handed: the joined parts, the screen, and how to run its one coroutine."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from tachikoma.cli.render import Screen
from tachikoma.cli.terminal import Terminal
from tachikoma.model.errors import UsageError
from tachikoma.model.events import Notice
from tachikoma.runtime import Runtime
from tachikoma.ssh.port import Login

T = TypeVar("T")
_ENDING = (signal.SIGTERM, signal.SIGHUP)


class Terminated(BaseException):
    """A signal asked this process to end; what it did has been cancelled and cleaned up."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@dataclass(frozen=True, slots=True)
class Door:
    """One command at work."""

    runtime: Runtime
    screen: Screen
    terminal: Terminal

    @property
    def interactive(self) -> bool:
        """Tell whether a person sits at both ends and wants words."""
        return self.terminal.stdin_tty and self.terminal.out_tty and not self.screen.as_json

    def run(
        self,
        work: Callable[[Runtime], Awaitable[T]],
        *,
        settled: bool = True,
        loop: Callable[[], asyncio.AbstractEventLoop] | None = None,
    ) -> T:
        """Run ``work`` to its end, once the settings are loaded (``settled``) as most parts need,
        on a loop made by ``loop`` if that is not None.

        Ctrl-C, SIGTERM and a hang-up cancel it; what it holds is given back first.

        Raises:
            KeyboardInterrupt: Ctrl-C.
            Terminated: another signal.
        """

        async def everything() -> T:
            if settled:
                await self.runtime.load_settings()
            return await work(self.runtime)

        with asyncio.Runner(loop_factory=loop) as runner:
            return runner.run(_until_ended(everything()))

    def warn(self) -> None:
        """Tell which settings were not applied, and why."""
        for warning in self.runtime.warnings:
            self.screen.report(Notice(warning))

    def confirm(self, question: str) -> bool:
        """Ask whether to go on.

        Raises:
            UsageError: there is nobody to ask.
        """
        self.check_somebody_answers()
        return self.screen.ask(question)

    def check_somebody_answers(self) -> None:
        """Raise UsageError unless there is a person to ask."""
        if not (self.terminal.stdin_tty and self.terminal.err_tty) or self.screen.as_json:
            raise UsageError(
                "this needs a confirmation, and there is no terminal to ask on",
                hint="add --yes (or --force)",
            )

    def go_into(self, login: Login, *, directory: str, command: tuple[str, ...] = ()) -> int:
        """Become the SSH session into a VM: the last thing a command does."""
        return self.become(
            self.runtime.shell.attach_argv(login, command=command, directory=directory)
        )

    def become(self, argv: Sequence[str]) -> int:
        """Become ``argv``, once all that was said is out."""
        self.screen.settle()
        self.terminal.out.flush()
        self.terminal.err.flush()
        return self.terminal.become(argv)


async def _until_ended(work: Coroutine[Any, Any, T]) -> T:
    caught: list[int] = []
    task = asyncio.current_task()
    assert task is not None

    def end(number: int) -> None:
        caught.append(number)
        task.cancel()

    with _heard(end):
        try:
            return await work
        except asyncio.CancelledError:
            if caught:
                raise Terminated(caught[0]) from None
            raise


@contextlib.contextmanager
def _heard(end: Callable[[int], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    heard = [number for number in _ENDING if signal.getsignal(number) is signal.SIG_DFL]
    for number in heard:
        loop.add_signal_handler(number, end, number)
    try:
        yield
    finally:
        for number in heard:
            loop.remove_signal_handler(number)
