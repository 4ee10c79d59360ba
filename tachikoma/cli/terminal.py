"""What this process is connected to."""

from __future__ import annotations

import io
import os
import shutil
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from tachikoma.host import environ, process
from tachikoma.host.clock import SystemClock
from tachikoma.model.errors import HostError

_NARROWEST = 40


@dataclass(frozen=True, slots=True)
class Terminal:
    """Standard input, output and error, which of them are terminals, and the environment.

    ``stdin`` is None where it is closed. ``become`` replaces this process by a command (a test
    puts something in its place that comes back); ``call`` lends this terminal to one until it
    ends. ``columns`` is asked anew each time: windows change.
    """

    stdin: int | None
    out: TextIO
    err: TextIO
    stdin_tty: bool
    out_tty: bool
    err_tty: bool
    environ: Mapping[str, str]
    columns: Callable[[], int]
    monotonic: Callable[[], float]
    read_line: Callable[[], str]
    become: Callable[[Sequence[str]], int]
    call: Callable[[Sequence[str]], int] = process.on_terminal

    @property
    def colour(self) -> bool:
        """Tell whether colours are wanted at all (https://no-color.org)."""
        return not self.environ.get("NO_COLOR") and not self.dumb

    @property
    def dumb(self) -> bool:
        """Tell whether the terminal can only write one line after the other."""
        return self.environ.get("TERM", "") in ("", "dumb")


def this_terminal() -> Terminal:
    """Give what this process really has."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            utf8 = stream.encoding.lower().replace("-", "") == "utf8"
            stream.reconfigure(errors="surrogateescape" if utf8 else "backslashreplace")
    stdin, out, err = sys.stdin, sys.stdout or io.StringIO(), sys.stderr or io.StringIO()
    return Terminal(
        stdin=stdin.fileno() if stdin else None,
        out=out,
        err=err,
        stdin_tty=bool(stdin and stdin.isatty()),
        out_tty=out.isatty(),
        err_tty=err.isatty(),
        environ=environ.current(),
        columns=lambda: max(_NARROWEST, shutil.get_terminal_size((80, 24)).columns),
        monotonic=SystemClock().monotonic,
        read_line=sys.stdin.readline if sys.stdin else str,
        become=become,
    )


def become(argv: Sequence[str]) -> int:
    """Replace this process by ``argv``; only a test's stand-in comes back.

    The new process gets the chosen environment of every child: a credential in the user's own
    must not reach a guest through a ``SendEnv`` in an SSH configuration.

    Raises:
        MissingToolError: the program does not exist.
    """
    if process.which(argv[0]) is None:
        raise process.missing_tool(argv[0])
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and a child would inherit it
    os.execvpe(argv[0], list(argv), environ.for_child())  # noqa: S606  argv is ours, no shell


def current_directory() -> Path:
    """Give where the command was called.

    Raises:
        HostError: that directory is not there any more.
    """
    try:
        return Path.cwd()
    except OSError as error:
        raise HostError(
            "the current directory is not there any more", hint="change to another one: `cd ~`"
        ) from error
