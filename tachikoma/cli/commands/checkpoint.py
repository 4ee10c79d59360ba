"""``tachikoma checkpoint save|list|restore|delete``."""

from __future__ import annotations

import click

from tachikoma.cli import encode, words
from tachikoma.cli.door import Door
from tachikoma.cli.table import Column
from tachikoma.cli.verb import Verb, VerbGroup
from tachikoma.vm.requests import (
    CheckpointOutcome,
    CheckpointRequest,
    CheckpointsRequest,
    Target,
)

_COLUMNS = (Column("LABEL", least=16), Column("SAVED"))
_EXAMPLES = """\b
Examples:
  tachikoma checkpoint save before-upgrade
  tachikoma checkpoint save feature/login before-upgrade
  tachikoma checkpoint restore before-upgrade
"""


@click.group("checkpoint", cls=VerbGroup, no_args_is_help=False, epilog=_EXAMPLES)
def command() -> None:
    """Restore points of a VM's disk. The worktree is on the host and is not part of them."""


@command.command("save", cls=Verb, epilog=_EXAMPLES)
@click.argument("words_", metavar="[NAME] LABEL", nargs=-1, required=True)
@click.pass_obj
def save(door: Door, *, words_: tuple[str, ...]) -> int:
    """Keep the disk of a VM as it is now, while it runs or not. NAME is a branch or a VM."""
    request = _request(door, words_)
    outcome = door.run(lambda runtime: runtime.keeping.save(request, door.screen.report))
    door.screen.give(_data(outcome), [f"{outcome.name}: checkpoint {outcome.label} saved"])
    return 0


@command.command("list", cls=Verb, epilog=_EXAMPLES)
@click.argument("name", required=False)
@click.pass_obj
def list_checkpoints(door: Door, *, name: str | None) -> int:
    """List the checkpoints of a VM, oldest first."""
    request = CheckpointsRequest(Target(cwd=door.runtime.cwd, name=name))
    outcome = door.run(lambda runtime: runtime.keeping.all(request, door.screen.report))
    rows = [(each.label, each.created) for each in outcome.checkpoints]
    data: encode.Data = {
        "name": outcome.name,
        "branch": outcome.branch,
        "checkpoints": [{"label": label, "created": created} for label, created in rows],
    }
    if not rows:
        door.screen.give(data)
        door.screen.note(f"{outcome.name} has no checkpoints; `checkpoint save LABEL` makes one")
        return 0
    now = door.runtime.clock.now()
    table = [[label, words.age(created, now)] for label, created in rows]
    door.screen.give(data, door.screen.table(_COLUMNS, table))
    return 0


@command.command("restore", cls=Verb, epilog=_EXAMPLES)
@click.argument("words_", metavar="[NAME] LABEL", nargs=-1, required=True)
@click.option("-y", "--yes", "--force", is_flag=True, help="Do not ask.")
@click.pass_obj
def restore(door: Door, *, words_: tuple[str, ...], yes: bool) -> int:
    """Make the disk of a VM what it was. A VM that runs is stopped first, at once.

    What was written to the disk since is lost; the worktree, on the host, stays as it is.
    """
    request = _request(door, words_)
    if not yes and not door.confirm(f"Give up what was written since {request.label}?"):
        door.screen.note("nothing was changed")
        return 1
    outcome = door.run(lambda runtime: runtime.keeping.restore(request, door.screen.report))
    home = door.runtime.paths.home
    lines = [f"{outcome.name} is as it was at {outcome.label}; `tachikoma spawn` starts it"]
    if outcome.worktree is not None:
        lines.append(f"  its worktree {words.home(outcome.worktree, home)} stays as it is")
    door.screen.give(_data(outcome), lines)
    return 0


@command.command("delete", cls=Verb, epilog=_EXAMPLES)
@click.argument("words_", metavar="[NAME] LABEL", nargs=-1, required=True)
@click.pass_obj
def delete(door: Door, *, words_: tuple[str, ...]) -> int:
    """Let go of a checkpoint; the VM's disk stays as it is."""
    request = _request(door, words_)
    outcome = door.run(lambda runtime: runtime.keeping.delete(request, door.screen.report))
    door.screen.give(_data(outcome), [f"{outcome.name}: checkpoint {outcome.label} deleted"])
    return 0


def _request(door: Door, said: tuple[str, ...]) -> CheckpointRequest:
    """Read ``[NAME] LABEL``."""
    if len(said) > 2:
        raise click.UsageError(f"one name and one label, not {len(said)} words")
    name = said[0] if len(said) > 1 else None
    return CheckpointRequest(Target(cwd=door.runtime.cwd, name=name), label=said[-1])


def _data(outcome: CheckpointOutcome) -> encode.Data:
    return {
        "name": outcome.name,
        "branch": outcome.branch,
        "label": outcome.label,
        "worktree": encode.path(outcome.worktree),
        "halted": outcome.halted,
    }
