"""``tachikoma daemon start|stop|retry|status|help``; the sessions and the service are beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from tachikoma.cli import supervision, words
from tachikoma.cli.commands import daemon_service, daemon_sessions
from tachikoma.cli.door import Door
from tachikoma.cli.encode import Data
from tachikoma.cli.verb import Verb, VerbGroup
from tachikoma.cli.worker_kinds import Chosen, Site, choose
from tachikoma.model.errors import TachikomaError
from tachikoma.model.events import StepEnded, StepStarted
from tachikoma.runtime import Runtime
from tachikoma.supervisor.control import Found, Standing
from tachikoma.supervisor.record import SupervisorRecord, WorkerRecord
from tachikoma.supervisor.sessions import Session
from tachikoma.supervisor.workers import DEFAULT_CAPACITY, Options

_EXAMPLES = """\b
Examples:
  tachikoma daemon                       what runs: the supervisor, the sessions
  tachikoma daemon start -b              keep the proxy and the makima daemon running
  tachikoma daemon bg feature/login "write the tests that are missing"
  tachikoma daemon attach feature-login
"""
_START_EXAMPLES = """\b
Examples:
  tachikoma daemon start
  tachikoma daemon start -b --worker makima --capacity 8
"""
_STOP_EXAMPLES = """\b
Examples:
  tachikoma daemon stop
"""
_RETRY_EXAMPLES = """\b
Examples:
  tachikoma daemon retry
"""
_STATUS_EXAMPLES = """\b
Examples:
  tachikoma daemon status
  tachikoma daemon status --json
"""
_HELP_EXAMPLES = """\b
Examples:
  tachikoma daemon help
"""


@click.group("daemon", cls=VerbGroup, invoke_without_command=True, epilog=_EXAMPLES)
@click.pass_context
def command(context: click.Context) -> int | None:
    """Work that goes on when nobody looks: a supervisor, and sessions in the background.

    The supervisor keeps workers running: the credential proxy, and the makima daemon if it is
    configured. A background session is Claude Code in a branch's VM on a terminal of its own; it
    lives in the VM, with or without a supervisor. With no command it shows the status of both.
    """
    return None if context.invoked_subcommand else _show(context.ensure_object(Door))


@command.command("status", cls=Verb, epilog=_STATUS_EXAMPLES)
@click.pass_obj
def status(door: Door) -> int:
    """Show the supervisor and the sessions (the default)."""
    return _show(door)


@command.command("ps", cls=Verb, epilog=_STATUS_EXAMPLES)
@click.pass_obj
def ps(door: Door) -> int:
    """Show the same as `status`."""
    return _show(door)


def start_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say how a supervisor is to run."""
    for option in reversed(
        (
            click.option(
                "--dir", "directory", type=click.Path(path_type=Path, file_okay=False, exists=True),
                help="Where the workers run; default: here.",
            ),
            click.option(
                "--spawn-mode", type=click.Choice(["same-dir", "worktree"]),
                help="Where a worker's sessions work; default: same-dir. The makima daemon's tasks "
                "always have a worktree of their own.",
            ),
            click.option(
                "--capacity", type=click.IntRange(1),
                help=f"The most sessions at a time of a worker; default: {DEFAULT_CAPACITY}.",
            ),
            click.option(
                "--permission-mode", metavar="MODE",
                help="Claude Code's mode of permissions in a worker's sessions.",
            ),
            click.option("--sandbox", is_flag=True, help="Sessions only ever run in VMs."),
            click.option("--name", help="A name for the supervisor, which its workers hear."),
            click.option(
                "--worker", "asked", metavar="KIND", multiple=True,
                help="Run this one: makima, proxy; repeatable. Default: those that are configured.",
            ),
        )
    ):  # fmt: skip
        function = option(function)
    return function


@command.command("start", cls=Verb, epilog=_START_EXAMPLES)
@start_options
@click.option("-b", "--background", is_flag=True, help="Come back once it runs.")
@click.option("--quiet", is_flag=True, hidden=True, help="Say everything to the log only.")
@click.pass_context
def start(context: click.Context, /, *, background: bool, quiet: bool, **told: Any) -> int:  # noqa: ANN401 - click's own; Told has the types
    """Run the supervisor; with -b in the background.

    A worker that ends is started again after 2 seconds, then 4, up to 120; one that ends five
    times in a row within 10 seconds, or with status 78, is parked until `daemon retry`. On the way
    out workers have 30 seconds to end; a second Ctrl-C does not wait.
    """
    door = context.find_object(Door)
    assert door is not None
    mine = Told(**told)
    options = mine.options(door.runtime)
    chosen = chosen_for(context, door, options, mine.asked)
    if background:
        return _start_in_background(door, mine)
    door.run(
        lambda _: supervision.supervise(
            door, chosen.workers, options, notes=chosen.notes, quiet=quiet
        ),
        settled=False,
    )
    door.screen.give({"was_running": True})
    return 0


@command.command("stop", cls=Verb, epilog=_STOP_EXAMPLES)
@click.pass_obj
def stop(door: Door) -> int:
    """End the supervisor and its workers. Background sessions go on."""
    before = door.run(lambda runtime: _stopped(door, runtime), settled=False)
    said = {
        Standing.STOPPED: "daemon is not running",
        Standing.STALE: "daemon was stale (cleaned up)",
        Standing.RUNNING: "daemon stopped",
    }
    pid = before.record.pid if before.record else None
    running = before.standing is Standing.RUNNING
    door.screen.give({"was_running": running, "pid": pid}, [said[before.standing]])
    return 0


@command.command("retry", cls=Verb, epilog=_RETRY_EXAMPLES)
@click.pass_obj
def retry(door: Door) -> int:
    """Start workers again that are parked or wait."""
    record = supervision.control(door.runtime).retry()
    waiting = [each.kind for each in record.workers if each.state in ("parked", "waiting")]
    said = f"starting again: {', '.join(waiting)}" if waiting else "every worker is running"
    door.screen.give({"workers": waiting}, [said])
    return 0


@command.command("help", cls=Verb, epilog=_HELP_EXAMPLES)
@click.pass_context
def show_help(context: click.Context) -> int:
    """Show what `daemon` can do, with the options of `start`."""
    door, group = context.find_object(Door), context.parent
    assert door is not None
    assert group is not None
    lines = [*group.get_help().splitlines(), "", "Options of start:"]
    with click.Context(start, parent=group, info_name="start") as own:
        formatter = own.make_formatter()
        with formatter.indentation():
            formatter.write_dl(
                [
                    record
                    for each in start.get_params(own)
                    if "--help" not in each.opts
                    and (record := each.get_help_record(own)) is not None
                ]
            )
    lines += formatter.getvalue().splitlines()
    door.screen.give({"text": "\n".join(lines)}, lines)
    return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """The options of `start` as click has them."""

    directory: Path | None
    spawn_mode: Any
    capacity: int | None
    permission_mode: str | None
    sandbox: bool
    name: str | None
    asked: tuple[str, ...]

    def options(self, runtime: Runtime) -> Options:
        """Give them as the supervisor has them."""
        return Options(
            directory=(runtime.cwd / (self.directory or ".")).resolve(),
            spawn_mode=self.spawn_mode,
            capacity=self.capacity,
            permission_mode=self.permission_mode,
            sandbox=self.sandbox,
            name=self.name,
        )

    def argv(self, runtime: Runtime) -> tuple[str, ...]:
        """Give the command line that says the same, from wherever it is run."""
        said = {
            "--dir": str(self.options(runtime).directory),
            "--spawn-mode": self.spawn_mode,
            "--capacity": self.capacity,
            "--permission-mode": self.permission_mode,
            "--name": self.name,
        }
        options = [f"{name}={value}" for name, value in said.items() if value is not None]
        sandbox = ["--sandbox"] if self.sandbox else []
        asked = [f"--worker={kind}" for kind in self.asked]
        return (*supervision.program(runtime), "daemon", "start", *options, *sandbox, *asked)


def chosen_for(
    context: click.Context, door: Door, options: Options, asked: Sequence[str]
) -> Chosen:
    """Choose the workers; one is only offered if this program has its command."""
    root = context.find_root()

    def exists(path: Sequence[str]) -> bool:
        found: click.Command | None = root.command
        for word in path:
            if word.startswith("-"):
                break
            found = found.get_command(root, word) if isinstance(found, click.Group) else None
        return found is not None

    runtime = door.runtime
    site = Site(supervision.program(runtime), exists, runtime.environ, runtime.paths.home)
    return choose(site, options, asked)


def _start_in_background(door: Door, told: Told) -> int:
    async def work(runtime: Runtime) -> SupervisorRecord:
        return await supervision.control(runtime).start(
            (*told.argv(runtime), "--quiet"),
            environ=runtime.environ,
            said=runtime.paths.logs / "daemon-start.log",
        )

    record = door.run(work, settled=False)
    door.screen.give(
        _supervisor_data(Found(Standing.RUNNING, record)),
        [
            f"daemon started (PID: {record.pid}): {', '.join(record.worker_kinds)}",
            f"  log   tachikoma daemon logs -f   ({words.home(Path(record.log), _home(door))})",
            "  stop  tachikoma daemon stop",
        ],
    )
    return 0


async def _stopped(door: Door, runtime: Runtime) -> Found:
    """End the supervisor, and say so meanwhile."""
    control = supervision.control(runtime)
    found = await asyncio.to_thread(control.look)
    began = runtime.clock.monotonic()
    if found.standing is Standing.RUNNING and found.record:
        if not door.screen.as_json:
            door.screen.give({}, [f"stopping daemon (PID: {found.record.pid})..."])
        door.screen.report(StepStarted("stop", "Waiting for its workers to end"))
    await control.stop(found)
    if found.standing is Standing.RUNNING:
        door.screen.report(StepEnded("stop", runtime.clock.monotonic() - began))
    return found


def _show(door: Door) -> int:
    """Show the supervisor first: it is known at once, whatever the VMs are like."""
    found = supervision.control(door.runtime).look()
    told, why = _sessions(door)
    lines = ["=== Daemon Supervisor ===", *_supervisor_lines(door, found), ""]
    lines += ["=== Background Sessions ===", *daemon_sessions.table_of(door, told, why)]
    door.screen.give(
        {
            "supervisor": _supervisor_data(found),
            "sessions": [daemon_sessions.data_of(each) for each in told],
            "sessions_unknown": why or None,
        },
        lines,
    )
    return 0


def _sessions(door: Door) -> tuple[list[Session], str]:
    """Give the sessions, or why they cannot be known: the supervisor is shown all the same."""
    try:
        return door.run(lambda runtime: supervision.sessions(runtime).survey()), ""
    except TachikomaError as error:
        return [], error.message


def _supervisor_lines(door: Door, found: Found) -> list[str]:
    record, style = found.record, door.screen.style
    if record is None:
        return ["  Status:   stopped"]
    if found.standing is Standing.STALE:
        if found.cleaned:
            return ["  Status:   stale (cleaned up)"]
        left = ", ".join(f"{each.kind} (PID {each.pid})" for each in record.left_over)
        return ["  Status:   stale", f"  Left:     {left}; `tachikoma daemon stop` ends that"]
    state = "stopping" if record.last_status == "stopping" else "running"
    named = [f"  Name:     {words.clean(record.name)}"] if record.name else []
    return [
        f"  Status:   {style(state, 'green')}",
        *named,
        f"  PID:      {record.pid}",
        f"  CWD:      {words.clean(words.home(Path(record.cwd), _home(door)))}",
        f"  Started:  {record.started_at}",
        f"  Workers:  {', '.join(record.worker_kinds)}",
        *(line for each in record.workers for line in _worker_lines(door, each)),
    ]


def _worker_lines(door: Door, worker: WorkerRecord) -> list[str]:
    parts = [
        _state_of(door, worker),
        words.count(worker.restarts, "restart") if worker.restarts else "",
        f"last ended with {worker.last_exit}" if worker.last_exit else "",
    ]
    indent = " " * 12
    return [
        f"{indent}{worker.kind:<8}{', '.join(filter(None, parts))}",
        *([f"{indent}        {worker.parked}"] if worker.parked else []),
        f"{indent}        {door.screen.style(f'run because: {words.clean(worker.why)}', 'dim')}",
    ]


def _state_of(door: Door, worker: WorkerRecord) -> str:
    now, style = door.runtime.clock.now(), door.screen.style
    match worker.state:
        case "running":
            return f"{style('running', 'green')} (PID {worker.pid})"
        case "waiting":
            left = max(0.0, (worker.retry_at or now) - now)
            return f"{style('waiting', 'yellow')}, starts again in {words.seconds(left)}"
        case "parked":
            return f"{style('parked', 'red')}; `tachikoma daemon retry` starts it again"
        case "starting":
            return "starting"


def _supervisor_data(found: Found) -> Data:
    record = found.record
    if record is None:
        return {"status": found.standing.value}
    return {
        "status": found.standing.value,
        "pid": record.pid,
        "cwd": record.cwd,
        "name": record.name or None,
        "started_at": record.started_at,
        "last_status": record.last_status,
        "log": record.log,
        "left_over": [each.kind for each in record.left_over if found.standing is Standing.STALE],
        "workers": [_worker_data(each) for each in record.workers],
    }


def _worker_data(worker: WorkerRecord) -> Data:
    return {
        "kind": worker.kind,
        "why": worker.why,
        "state": worker.state,
        "pid": worker.pid,
        "since": worker.since,
        "restarts": worker.restarts,
        "rapid_failures": worker.rapid,
        "backoff_s": worker.backoff_s,
        "retry_at": worker.retry_at,
        "last_exit": worker.last_exit or None,
        "parked": worker.parked or None,
    }


def _home(door: Door) -> Path:
    return door.runtime.paths.home


def _checked_argv(door: Door, told: dict[str, Any]) -> tuple[str, ...]:
    """Give the command line of a `start` with these options, once they are known to make sense."""
    mine = Told(**told)
    chosen_for(click.get_current_context(), door, mine.options(door.runtime), mine.asked)
    return mine.argv(door.runtime)


daemon_sessions.add_to(command)
daemon_service.add_to(command, start_options, _checked_argv)
