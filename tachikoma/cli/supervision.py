"""The supervisor and the background sessions, joined for the commands of `tachikoma daemon`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tachikoma.cli import words
from tachikoma.cli.door import Door
from tachikoma.host import attended, process
from tachikoma.model.errors import TachikomaError
from tachikoma.model.vm import Stream
from tachikoma.runtime import Runtime
from tachikoma.supervisor.control import SupervisorControl
from tachikoma.supervisor.journal import RotatingLog
from tachikoma.supervisor.orders import Orders, by_signals
from tachikoma.supervisor.record import RecordFile
from tachikoma.supervisor.session_book import SessionBook
from tachikoma.supervisor.sessions import Sessions
from tachikoma.supervisor.supervisor import Place, Supervisor
from tachikoma.supervisor.workers import Options, Worker

if TYPE_CHECKING:  # only a shell that completes loads it
    from click.shell_completion import CompletionItem


def program(runtime: Runtime) -> tuple[str, ...]:
    """Give the command line that this installation is called by, wherever it is called."""
    engine = ("--hypervisor", runtime.chosen) if runtime.chosen else ()
    # -P: nothing is imported from where it runs, which a guest may write to
    return (sys.executable, "-P", "-m", "tachikoma", *engine)


def record_file(runtime: Runtime) -> RecordFile:
    """Give the record of this user's supervisor."""
    return RecordFile(runtime.paths.config / "daemon.json")


def log_file(runtime: Runtime) -> Path:
    """Say where the supervisor's log is."""
    return runtime.paths.logs / "daemon.log"


def control(runtime: Runtime) -> SupervisorControl:
    """Give what finds, stops and starts the supervisor."""
    return SupervisorControl(record=record_file(runtime), clock=runtime.clock)


def book(runtime: Runtime) -> SessionBook:
    """Give the records of background sessions; synthetic VMs have their own."""
    base = runtime.paths.config
    return SessionBook(
        (base / "synthetic" if runtime.chosen == "synthetic" else base) / "sessions.json"
    )


def sessions(runtime: Runtime) -> Sessions:
    """Give the background sessions."""
    return Sessions(ports=runtime.ports, book=book(runtime))


async def supervise(
    door: Door, workers: Sequence[Worker], options: Options, *, notes: Sequence[str], quiet: bool
) -> None:
    """Be the supervisor until told to stop; what is said goes to the log and, unless ``quiet``,
    to the outputs.
    """
    runtime, pid = door.runtime, os.getpid()
    log = RotatingLog(log_file(runtime), clock=runtime.clock)
    place = Place(
        pid=pid,
        started=process.start_time(pid) or "",
        environ=runtime.environ,
        record=record_file(runtime),
        log=log.path,
        start_time=process.start_time,
    )
    echo = Echo(door, quiet=quiet)

    def say(stream: Stream, line: str) -> None:
        log.add(line)
        echo.say(stream, line)

    orders = Orders()
    supervisor = Supervisor(
        workers=workers,
        options=options,
        place=place,
        say=say,
        clock=runtime.clock,
        attend=attended.attend,
        notes=notes,
    )
    with by_signals(orders):
        await supervisor.run(orders)


class Echo:
    """Puts what is said on the outputs, until nobody reads there any more."""

    def __init__(self, door: Door, *, quiet: bool) -> None:
        self._terminal = door.terminal
        self._on = not quiet and not door.screen.as_json

    def say(self, stream: Stream, line: str) -> None:
        """Write a line, without what could command a terminal."""
        if not self._on:
            return
        out = self._terminal.out if stream == "stdout" else self._terminal.err
        try:
            out.write(f"{words.clean(line)}\n")
            out.flush()
        except OSError:
            self._on = False  # the log goes on


def session_names(
    context: click.Context, _parameter: click.Parameter, begun: str
) -> list[CompletionItem]:
    """Complete the name of a background session that was started."""
    from click.shell_completion import CompletionItem

    door = context.find_object(Door)
    if door is None:
        return []
    try:
        records = book(door.runtime).read()
    except TachikomaError:
        return []
    return [
        CompletionItem(each.name, help=each.branch)
        for each in records.values()
        if each.name.startswith(begun)
    ]
