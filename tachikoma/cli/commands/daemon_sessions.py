"""``tachikoma daemon bg|attach|logs|kill``: background sessions."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import click

from tachikoma.cli import encode, supervision, words
from tachikoma.cli.completing import branches
from tachikoma.cli.door import Door
from tachikoma.cli.lookup import record_of
from tachikoma.cli.table import Column
from tachikoma.cli.verb import Verb
from tachikoma.host.tail import Tail
from tachikoma.model.errors import GitError, UsageError, VmNotFoundError
from tachikoma.model.names import VmName
from tachikoma.runtime import Runtime
from tachikoma.supervisor import multiplexer
from tachikoma.supervisor.sessions import Session, SessionState
from tachikoma.vm.requests import SpawnRequest

_PAUSE_S = 0.25
_COLUMNS = (
    Column("NAME", least=12),
    Column("STATE"),
    Column("BRANCH", drop=1, least=10),
    Column("STARTED", drop=2),
    Column("VM", drop=4, least=20),
    Column("NOTE", drop=3, least=16),
)
_BG_EXAMPLES = """\b
Examples:
  tachikoma daemon bg
  tachikoma daemon bg feature/login "write the tests that are missing"
  tachikoma daemon bg --name docs "look over the README"
  tachikoma daemon bg main -- --dry-run has no effect, find out why
"""
_ATTACH_EXAMPLES = """\b
Examples:
  tachikoma daemon attach
  tachikoma daemon attach feature-login
"""
_LOGS_EXAMPLES = """\b
Examples:
  tachikoma daemon logs                  the supervisor's
  tachikoma daemon logs feature-login -f
"""
_KILL_EXAMPLES = """\b
Examples:
  tachikoma daemon kill feature-login
"""


def add_to(group: click.Group) -> None:
    """Add the commands about sessions to ``group``."""
    for each in (bg, attach, logs, kill):
        group.add_command(each)


@click.command("bg", cls=Verb, epilog=_BG_EXAMPLES)
@click.argument("branch", required=False, shell_complete=branches)
@click.argument("prompt", nargs=-1)
@click.option("--name", help="A name for the session; default: the branch's.")
@click.option(
    "--permission-mode",
    metavar="MODE",
    help="Claude Code's; default: it asks for no permission, as the VM is its own.",
)
@click.pass_obj
def bg(
    door: Door,
    *,
    branch: str | None,
    prompt: tuple[str, ...],
    name: str | None,
    permission_mode: str | None,
) -> int:
    """Start a background session in a branch's VM.

    BRANCH is the current one by default. The VM is made or started if need be. PROMPT is the first
    thing that Claude Code is told; a BRANCH with a space in it is no branch, and taken for the
    prompt. The session goes on until it is killed or its VM stops.
    """
    if branch is not None and len(branch.split()) > 1:
        prompt, branch = (branch, *prompt), None
    program = multiplexer.claude(permission_mode=permission_mode, prompt=" ".join(prompt))

    async def work(runtime: Runtime) -> Session:
        door.warn()
        request = SpawnRequest(cwd=runtime.cwd, branch=branch)
        spawned = await runtime.orchestrator.spawn(request, door.screen.report)
        return await supervision.sessions(runtime).start(spawned, name=name, program=program)

    session = door.run(work)
    style = door.screen.style
    door.screen.give(
        data_of(session),
        [
            f"{style(session.name, 'bold')}  started in {session.vm}",
            f"  attach  tachikoma daemon attach {session.name}   ({multiplexer.DETACH} detaches)",
            f"  logs    tachikoma daemon logs {session.name} -f",
            f"  end     tachikoma daemon kill {session.name}",
        ],
    )
    return 0


@click.command("attach", cls=Verb, epilog=_ATTACH_EXAMPLES)
@click.argument("session", required=False, shell_complete=supervision.session_names)
@click.pass_obj
def attach(door: Door, *, session: str | None) -> int:
    """Return to a background session. SESSION is its name, its branch, or how its name begins.

    By default it is the one of the current branch, or the only one. Ctrl-B d leaves it running.
    Without a terminal it prints the ssh command that would.
    """

    async def work(runtime: Runtime) -> tuple[Session, list[str]]:
        sessions = supervision.sessions(runtime)
        found = await sessions.find(session, vm=await _vm_here(door))
        sessions.check_running(found)
        login = await sessions.way_in(found)
        command = multiplexer.attach_command(found.name)
        directory = str(found.worktree)
        return found, runtime.shell.attach_argv(login, command=command, directory=directory)

    found, argv = door.run(work)
    if not door.interactive:
        door.screen.give({**data_of(found), "ssh": argv}, [shlex.join(argv)])
        return 0
    return door.become(argv)


@click.command("logs", cls=Verb, epilog=_LOGS_EXAMPLES)
@click.argument("session", required=False, shell_complete=supervision.session_names)
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option("-n", "--lines", type=click.IntRange(0), default=100, help="How many; default 100.")
@click.pass_obj
def logs(door: Door, *, session: str | None, follow: bool, lines: int) -> int:
    """Show what a session has shown, or the supervisor's log.

    SESSION is its name, its branch, or how its name begins; what it has shown is told as text. With
    --follow it ends when Claude Code does. What is drawn over again and again, such as a spinner,
    is told once it rests.
    """
    if follow and door.screen.as_json:
        raise UsageError("--follow has no end, and --json has one", hint="leave one of them out")
    if session is None:
        return door.run(lambda runtime: _own_log(door, runtime, lines, follow=follow))
    return door.run(lambda runtime: _session_log(door, runtime, session, lines, follow=follow))


@click.command("kill", cls=Verb, epilog=_KILL_EXAMPLES)
@click.argument("session", shell_complete=supervision.session_names)
@click.pass_obj
def kill(door: Door, *, session: str) -> int:
    """End a background session; its VM stays.

    All that it started ends with it. One that has ended is forgotten. SESSION is its name, its
    branch, or how its name begins.
    """

    async def work(runtime: Runtime) -> Session:
        sessions = supervision.sessions(runtime)
        found = await sessions.find(session, vm=None)
        await sessions.kill(found)
        return found

    found = door.run(work)
    said = "has been ended" if found.state is SessionState.RUNNING else "is forgotten"
    door.screen.give(data_of(found), [f"{found.name} {said}"])
    return 0


def data_of(session: Session) -> encode.Data:
    """Give one session."""
    return {
        "name": session.name,
        "vm": session.vm,
        "branch": session.branch,
        "worktree": str(session.worktree),
        "created": session.created,
        "state": session.state.value,
        "note": session.note or None,
        "attached": session.attached,
    }


def table_of(door: Door, sessions: Sequence[Session], unknown: str) -> list[str]:
    """Give the lines that show all sessions; ``unknown`` says why they cannot be known."""
    if unknown:
        return [f"  unknown: {words.clean(unknown)}"]
    if not sessions:
        return ["  none; `tachikoma daemon bg` starts one"]
    now = door.runtime.clock.now()
    return door.screen.table(
        _COLUMNS,
        [
            [
                each.name,
                each.state.value,
                each.branch,
                words.age(each.created, now),
                each.vm,
                each.note or ("somebody is attached" if each.attached else ""),
            ]
            for each in sessions
        ],
    )


async def _vm_here(door: Door) -> VmName | None:
    """Give the VM of the current branch, if there is one."""
    try:
        record = await record_of(door, None)
    except (GitError, VmNotFoundError):
        return None
    return record.name if record else None


async def _own_log(door: Door, runtime: Runtime, count: int, *, follow: bool) -> int:
    path = supervision.log_file(runtime)
    tail = Tail(path)
    found = tail.last(count)
    if len(found) < count:  # it has just been rotated
        found = [*Tail(path.with_name(f"{path.name}.1")).last(count - len(found)), *found]
    door.screen.give({"path": str(path), "lines": found}, _clean(found))
    if not found and not follow:
        door.screen.note("the supervisor has said nothing yet")
    while follow:
        await runtime.clock.sleep(_PAUSE_S)
        if more := tail.more():
            door.screen.give({}, _clean(more))
    return 0


async def _session_log(door: Door, runtime: Runtime, name: str, count: int, *, follow: bool) -> int:
    sessions = supervision.sessions(runtime)
    found = await sessions.find(name, vm=None)
    if follow:
        await sessions.follow(found, lambda lines: door.screen.give({}, _clean(lines)))
        door.screen.note(f"{found.name} has ended")
        return 0
    lines = await sessions.text(found)
    shown = lines[-count:] if count else []
    door.screen.give({**data_of(found), "lines": shown}, _clean(shown))
    return 0


def _clean(lines: Sequence[str]) -> list[str]:
    """Take out of lines what could command the user's terminal."""
    return [words.clean(line).replace("\t", "    ") for line in lines]
