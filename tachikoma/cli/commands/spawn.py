"""``tachikoma spawn [BRANCH]``, which is also ``tachikoma [BRANCH]``."""

from __future__ import annotations

import contextlib

import click

from tachikoma.cli import encode, words
from tachikoma.cli.completing import branches
from tachikoma.cli.door import Door
from tachikoma.cli.ssh_access import keep_fresh
from tachikoma.cli.table import Column
from tachikoma.cli.verb import Verb
from tachikoma.host.timing import Lap, lap, laps
from tachikoma.vm.requests import How, SpawnOutcome, SpawnRequest

_HOW = {
    How.CREATED: "created",
    How.STARTED: "started",
    How.PROVISIONED: "set up anew",
    How.RECONNECTED: "was ready",
}

_LAPS = (Column("STEP", least=20), Column("SECONDS", right=True), Column("AT", right=True))

_EXAMPLES = """\b
Examples:
  tachikoma spawn
  tachikoma spawn feature/login
  tachikoma spawn feature/login --no-interactive --json
"""


@click.command("spawn", cls=Verb, epilog=_EXAMPLES)
@click.argument("branch", required=False, shell_complete=branches)
@click.option("--no-interactive", is_flag=True, help="Do not go into the VM when it is ready.")
@click.option("--timings", is_flag=True, help="Show where the time went, step by step.")
@click.pass_obj
def command(door: Door, *, branch: str | None, no_interactive: bool, timings: bool) -> int:
    """Give BRANCH (default: the current one) its VM, made or started if need be, and go into it.

    A branch that does not exist yet is made: from the remote branch of that name, or else from
    HEAD. Its worktree is mounted in the VM at the same path.
    """
    request = SpawnRequest(cwd=door.runtime.cwd, branch=branch)
    with contextlib.ExitStack() as stack:
        run = stack.enter_context(laps()) if timings else []
        lap("the program is loaded")
        outcome = door.run(lambda _: _spawn(door, request))
        lap("recorded")
    keep_fresh(door)
    worktree = str(outcome.worktree)
    if door.interactive and not no_interactive:
        for line in _timings(door, run):
            door.screen.note(line)
        door.screen.note(_said(outcome))
        return door.go_into(outcome.login, directory=worktree)
    ssh = door.runtime.shell.attach_argv(outcome.login, directory=worktree)
    style = door.screen.style
    home = door.runtime.paths.home
    door.screen.give(
        encode.spawned(outcome, ssh) | ({"timings": _encoded(run)} if timings else {}),
        [
            f"{style(outcome.name, 'bold')}  {_how(outcome)}",
            f"  branch    {words.clean(outcome.branch)}",
            f"  worktree  {words.clean(words.home(outcome.worktree, home))}",
            f"  enter     tachikoma enter {outcome.name}",
            *_timings(door, run),
        ],
    )
    return 0


async def _spawn(door: Door, request: SpawnRequest) -> SpawnOutcome:
    door.warn()
    return await door.runtime.orchestrator.spawn(request, door.screen.report)


def _said(outcome: SpawnOutcome) -> str:
    return f"{outcome.name} {_how(outcome)}; `exit` leaves it running"


def _how(outcome: SpawnOutcome) -> str:
    spent = sum(seconds for _, seconds in outcome.steps)
    return f"{_HOW[outcome.how]} in {words.seconds(spent)}" if outcome.steps else _HOW[outcome.how]


def _timings(door: Door, run: list[Lap]) -> list[str]:
    rows = [[each.what, f"{each.took_s:.3f}", f"{each.at_s:.3f}"] for each in run]
    return ["", *door.screen.table(_LAPS, rows)] if rows else []


def _encoded(run: list[Lap]) -> list[encode.Data]:
    return [
        {"what": each.what, "at_s": round(each.at_s, 3), "took_s": round(each.took_s, 3)}
        for each in run
    ]
