from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tachikoma.cli.terminal import become, current_directory, this_terminal
from tachikoma.model.errors import HostError, MissingToolError
from tests.unit.cli.stand import Output, terminal_on


@pytest.mark.parametrize(
    ("environ", "colour", "dumb"),
    [
        ({"TERM": "xterm-256color"}, True, False),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False, False),
        ({"TERM": "xterm", "NO_COLOR": ""}, True, False),
        ({"TERM": "dumb"}, False, True),
        ({}, False, True),
    ],
)
def test_term_and_no_color_say_what_the_terminal_takes(
    environ: dict[str, str], colour: bool, dumb: bool
) -> None:
    with Output() as out:
        terminal = replace(terminal_on(out, out), environ=environ)
        assert (terminal.colour, terminal.dumb) == (colour, dumb)


def test_this_terminal_is_no_terminal_under_a_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "12")
    with Path(os.devnull).open() as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        terminal = this_terminal()
        assert terminal.stdin == nothing.fileno()
        assert not terminal.stdin_tty
    assert not terminal.out_tty
    assert terminal.environ["HOME"] == os.environ["HOME"]
    assert terminal.columns() == 40, "narrower than that nothing can be laid out"


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(MissingToolError, match="no-such-program"):
        become(["no-such-program", "x"])


def test_a_directory_that_was_removed_is_an_error_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(HostError, match="not there any more"):
        current_directory()
