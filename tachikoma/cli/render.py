"""The one voice of the command line: words for people, one JSON envelope for machines.

Results go to standard output; progress, notices, questions and errors to standard error. With
``--json`` standard output carries exactly one envelope, whatever happens::

    {"version": 1, "ok": true, "command": "list", "data": {...}}
    {"version": 1, "ok": false, "command": "list",
     "error": {"code": "...", "message": "...", "hint": "...", "details": "..."}}
"""

from __future__ import annotations

import json
import os
import select
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TextIO

from tachikoma.cli import words
from tachikoma.cli.progress import Lines, Progress, Silence, Spinner
from tachikoma.cli.table import Column, table
from tachikoma.cli.terminal import Terminal
from tachikoma.model.errors import TachikomaError
from tachikoma.model.events import Event

ENVELOPE_VERSION = 1
_ASCII = str.maketrans({"✓": "+", "✗": "x", "…": "~", "•": "-"})
_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}

Json = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Failure:
    """What is told about a command that did not do what it was asked for."""

    code: str
    message: str
    hint: str
    details: str
    exit_status: int


def failure_of(error: TachikomaError) -> Failure:
    """Give what is told about one of our errors."""
    return Failure(error.code, error.message, error.hint, error.details, error.exit_status)


class Style:
    """Colours, or none."""

    def __init__(self, *, colour: bool) -> None:
        self._colour = colour

    def __call__(self, text: str, *looks: str) -> str:
        """Give ``text`` in the colours and weights called ``looks``."""
        if not self._colour or not looks or not text:
            return text
        return f"\x1b[{';'.join(_CODES[look] for look in looks)}m{text}\x1b[0m"


class Screen:
    """What one command says, and how. ``command`` names it in the envelope."""

    def __init__(
        self, terminal: Terminal, *, command: str, as_json: bool, verbose: bool = False
    ) -> None:
        self.as_json = as_json
        self.style = Style(colour=terminal.out_tty and terminal.colour)
        self._loud = Style(colour=terminal.err_tty and terminal.colour)
        self._terminal = terminal
        self._command = command
        self._progress = self._fitting_progress(verbose=verbose)

    def report(self, event: Event) -> None:
        """Show what the heart is doing (a ``Report``)."""
        self._progress.show(event)

    def give(self, data: Json, text: Sequence[str] = ()) -> None:
        """Give the result: ``data`` to a machine, the lines of ``text`` to a person."""
        self.settle()
        if self.as_json:
            self._envelope({"ok": True, "command": self._command, "data": data})
        else:
            for line in text:
                self._put(self._terminal.out, line)
        self._terminal.out.flush()

    def table(self, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> list[str]:
        """Lay out a table for standard output: within the terminal, in full into a pipe."""
        room = self._terminal.columns() if self._terminal.out_tty else None
        head, *body = table(columns, rows, room=room, paint=self._paint)
        return [self.style(head, "dim"), *body]

    def wrapped(self, text: str, *, indent: int = 0) -> list[str]:
        """Break ``text`` for standard output behind ``indent`` columns; a pipe gets one line."""
        flat = " ".join(words.clean(text).split())
        if not self._terminal.out_tty:
            return [flat]
        return textwrap.wrap(flat, self._terminal.columns() - indent) or [""]

    def note(self, text: str) -> None:
        """Tell a person something that is not the result; a machine does not hear it."""
        self.settle()
        for line in () if self.as_json else self._broken(words.clean(text)):
            self._put(self._terminal.err, line)

    def _broken(self, text: str) -> list[str]:
        """Break a line too long for a terminal between words; a pipe gets it whole."""
        columns = self._terminal.columns()
        if not self._terminal.err_tty or words.width(text) <= columns:
            return [text]
        return textwrap.wrap(text, columns, break_long_words=False, break_on_hyphens=False)

    def fail(self, failure: Failure) -> None:
        """Tell what went wrong and what to do next."""
        self.settle()
        if self.as_json:
            told = {
                "code": failure.code,
                "message": failure.message,
                "hint": failure.hint,
                "details": failure.details,
            }
            self._envelope({"ok": False, "command": self._command, "error": told})
            self._terminal.out.flush()
            return
        err = self._terminal.err
        self._put(err, f"{self._loud('error:', 'red', 'bold')} {words.clean(failure.message)}")
        for line in words.clean(failure.details).splitlines():
            self._put(err, self._loud(f"  {line}", "dim"))
        if failure.hint:
            self._put(err, f"{self._loud('hint:', 'cyan')} {words.clean(failure.hint)}")

    def ask(self, question: str) -> bool:
        """Ask a person; only ``y`` or ``yes`` is a yes."""
        self.settle()
        self._terminal.err.write(f"{words.clean(question)} [y/N] ")
        self._terminal.err.flush()
        return self._terminal.read_line().strip().lower() in ("y", "yes")

    def settle(self) -> None:
        """Take the spinner off the screen. Idempotent."""
        self._progress.settle()

    def quiet_pipe(self) -> None:
        """Make sure that nothing more goes into a pipe that nobody reads any longer."""
        void = os.open(os.devnull, os.O_WRONLY)
        os.dup2(void, self._terminal.out.fileno())
        os.close(void)

    def raw(self, stream: TextIO) -> Callable[[bytes], None]:
        """Give a writer that puts bytes on ``stream`` as they are, at once and all of them."""
        stream.flush()
        descriptor = stream.fileno()

        def write(data: bytes) -> None:
            view = memoryview(data)
            while view:
                try:
                    view = view[os.write(descriptor, view) :]
                except BlockingIOError:  # somebody made the terminal non-blocking
                    select.select((), (descriptor,), ())

        return write

    def _fitting_progress(self, *, verbose: bool) -> Progress:
        terminal = self._terminal
        if terminal.err_tty and not terminal.dumb and not verbose:
            return Spinner(terminal)
        if self.as_json and not verbose:
            return Silence()
        return Lines(lambda line: self._put(terminal.err, line), verbose=verbose)

    def _paint(self, title: str, cell: str) -> str:
        if title == "NAME":
            return self.style(cell, "bold")
        if title == "STATE":
            return self.style(cell, *state_looks(cell.strip()))
        return cell

    def _envelope(self, content: Json) -> None:
        self._put(self._terminal.out, json.dumps({"version": ENVELOPE_VERSION, **content}))

    def _put(self, stream: TextIO, line: str) -> None:
        encoding = (getattr(stream, "encoding", None) or "utf-8").lower().replace("-", "")
        stream.write(f"{line if encoding == 'utf8' else line.translate(_ASCII)}\n")


def state_looks(state: str) -> tuple[str, ...]:
    """Give the colour in which a VM's state is written."""
    match state:
        case "running" | "ready":
            return ("green",)
        case "stopped" | "suspended" | "halted" | "ended":
            return ("dim",)
        case _:
            return ("red",)
