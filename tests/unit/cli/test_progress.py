from __future__ import annotations

import re
from dataclasses import replace

import pytest

from tachikoma.cli.progress import Lines, Spinner
from tachikoma.cli.render import Screen
from tachikoma.cli.terminal import Terminal
from tachikoma.host.clock import FakeClock
from tachikoma.model.events import Event, Notice, StepEnded, StepProgress, StepStarted
from tests.unit.cli.stand import Output, terminal_on

_EVENTS: tuple[Event, ...] = (
    Notice("the branch is new"),
    StepStarted("await", "Booting"),
    StepProgress("the guest agent answers"),
    StepEnded("await", 9.84),
)


def _plain(text: str) -> str:
    """Give what stays on the screen, without escape sequences and what was overwritten."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "")


def test_a_pipe_gets_a_line_when_a_step_begins_and_one_when_it_ends() -> None:
    said: list[str] = []
    lines = Lines(said.append, verbose=False)
    for event in _EVENTS:
        lines.show(event)
    assert said == ["the branch is new", "await: Booting", "await: done in 9.8 s"]


def test_a_verbose_pipe_also_gets_what_goes_on_within_a_step() -> None:
    said: list[str] = []
    lines = Lines(said.append, verbose=True)
    for event in _EVENTS:
        lines.show(event)
    assert said == [
        "the branch is new",
        "await: Booting",
        "  the guest agent answers",
        "await: done in 9.8 s",
    ]


def test_a_terminal_keeps_a_line_for_each_notice_and_finished_step() -> None:
    with Output() as out, Output() as err:
        spinner = Spinner(_terminal(out, err))
        for event in _EVENTS:
            spinner.show(event)
        spinner.settle()
        kept = _plain(err.text()).splitlines()
    assert "• the branch is new" in kept
    assert any(line.startswith("✓ Booting") and line.endswith(" 9.8 s") for line in kept)


def test_the_moving_line_shows_step_progress_and_time_and_fits_the_terminal() -> None:
    from rich.text import Text

    clock = FakeClock()
    with Output() as out, Output() as err:
        spinner = Spinner(replace(_terminal(out, err), monotonic=clock.monotonic))
        spinner.show(StepStarted("packages", "Installing packages"))
        spinner.show(StepProgress("unpacking a package with a very long name indeed", 0.5))
        clock._now += 3.2
        moving = spinner.__rich__()
        spinner.settle()
    assert isinstance(moving, Text)
    assert moving.plain[2:] == (
        "Installing packages  ██████░░░░░░  50%  unpacking a package with …  3.2 s"
    )
    assert len(moving.plain) <= 80


def test_a_long_notice_is_wrapped_within_the_terminal() -> None:
    with Output() as out, Output() as err:
        spinner = Spinner(_terminal(out, err))
        spinner.show(Notice("word " * 30))
        kept = _plain(err.text()).splitlines()
    assert len(kept) == 2
    assert all(len(line) <= 80 for line in kept)
    assert kept[1].startswith("  word")


def test_settling_twice_does_no_harm() -> None:
    with Output() as out, Output() as err:
        spinner = Spinner(_terminal(out, err))
        spinner.show(StepStarted("clone", "Cloning"))
        spinner.settle()
        spinner.settle()
        assert "\x1b[?25h" in err.text(), "the cursor is shown again"


def test_no_colour_leaves_the_spinner_without_colours() -> None:
    with Output() as out, Output() as err:
        terminal = _terminal(out, err)
        spinner = Spinner(replace(terminal, environ={"TERM": "xterm", "NO_COLOR": "1"}))
        for event in _EVENTS:
            spinner.show(event)
        spinner.settle()
        assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", err.text())


@pytest.mark.parametrize(
    ("term", "as_json", "verbose", "said"),
    [
        ("dumb", False, False, "await: Booting\nawait: done in 1.0 s\n"),
        ("dumb", True, False, ""),
        ("dumb", True, True, "await: Booting\nawait: done in 1.0 s\n"),
        ("xterm", False, True, "await: Booting\nawait: done in 1.0 s\n"),
    ],
)
def test_what_fits_is_chosen(term: str, as_json: bool, verbose: bool, said: str) -> None:
    with Output() as out, Output() as err:
        terminal = replace(_terminal(out, err), environ={"TERM": term})
        screen = Screen(terminal, command="spawn", as_json=as_json, verbose=verbose)
        screen.report(StepStarted("await", "Booting"))
        screen.report(StepEnded("await", 1.0))
        assert err.text() == said
        assert out.text() == ""


def _terminal(out: Output, err: Output) -> Terminal:
    return replace(terminal_on(out, err), err_tty=True, environ={"TERM": "xterm"})
