"""``tachikoma prune``."""

from __future__ import annotations

import click

from tachikoma.cli import encode, words
from tachikoma.cli.door import Door
from tachikoma.cli.ssh_access import keep_fresh
from tachikoma.cli.table import Column, table
from tachikoma.cli.verb import Verb
from tachikoma.vm.requests import PruneOutcome, PruneRequest

_COLUMNS = (
    Column("NAME", least=24),
    Column("BRANCH", least=16),
    Column("DISK", right=True),
    Column("LAST USED"),
)
_EXAMPLES = """\b
Examples:
  tachikoma prune --dry-run
  tachikoma prune --days 7
  tachikoma prune --yes          in a cron job
"""


@click.command("prune", cls=Verb, epilog=_EXAMPLES)
@click.option(
    "--days", type=click.FloatRange(0, 36_500), help="Days unused; default: prune_after_days."
)
@click.option("--dry-run", is_flag=True, help="Only say which VMs would go.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def command(door: Door, *, days: float | None, dry_run: bool, yes: bool) -> int:
    """Destroy the VMs that nobody has used for long. One that runs stays.

    As with `destroy`, worktrees and branches stay, and so does every commit made in the VMs.
    """
    trial = _prune(door, PruneRequest(days=days, dry_run=True))
    if dry_run or not trial.pruned:
        _tell(door, trial, dry_run=True)
        return 0
    if not yes:
        door.check_somebody_answers()
        for line in table(_COLUMNS, _rows(door, trial), room=door.terminal.columns()):
            door.screen.note(line)
        which = words.count(len(trial.pruned), "VM")
        if not door.confirm(f"Destroy {which}, unused for {_days(trial)}?"):
            door.screen.note("nothing was destroyed")
            return 1
    outcome = _prune(door, PruneRequest(days=days))
    keep_fresh(door)
    _tell(door, outcome, dry_run=False)
    return 0


def _prune(door: Door, request: PruneRequest) -> PruneOutcome:
    return door.run(lambda runtime: runtime.pruner.prune(request, door.screen.report))


def _tell(door: Door, outcome: PruneOutcome, *, dry_run: bool) -> None:
    data: dict[str, object] = {
        "days": outcome.days,
        "dry_run": dry_run,
        "pruned": [encode.vm(vm) for vm in outcome.pruned],
        "spared": [
            {"name": one.name, "branch": one.branch, "why": one.why} for one in outcome.spared
        ],
        "freed_bytes": outcome.freed_bytes,
    }
    lines = door.screen.table(_COLUMNS, _rows(door, outcome)) if outcome.pruned else []
    door.screen.give(data, lines)
    for one in outcome.spared:
        door.screen.note(f"{one.name} stays: {one.why}")
    size, which = words.size(outcome.freed_bytes), words.count(len(outcome.pruned), "VM")
    if not outcome.pruned:
        door.screen.note(f"nothing to prune: no VM at rest is unused for {_days(outcome)}")
    elif dry_run:
        door.screen.note(f"{which} would go, and {size} of disk be free")
    else:
        door.screen.note(f"{which} destroyed, {size} of disk freed")


def _rows(door: Door, outcome: PruneOutcome) -> list[list[str]]:
    now = door.runtime.clock.now()
    return [
        [vm.name, vm.branch or "-", words.size(vm.disk_bytes), words.age(vm.last_used, now)]
        for vm in outcome.pruned
    ]


def _days(outcome: PruneOutcome) -> str:
    return f"{outcome.days:g} {'day' if outcome.days == 1 else 'days'}"
