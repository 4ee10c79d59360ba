"""``tachikoma suspend [NAME]``."""

from __future__ import annotations

import click

from tachikoma.cli import encode
from tachikoma.cli.completing import vms
from tachikoma.cli.door import Door
from tachikoma.cli.verb import Verb
from tachikoma.vm.requests import SuspendOutcome, SuspendRequest, Target

_EXAMPLES = """\b
Examples:
  tachikoma suspend feature/login
"""


@click.command("suspend", cls=Verb, epilog=_EXAMPLES)
@click.argument("name", required=False, shell_complete=vms)
@click.pass_obj
def command(door: Door, *, name: str | None) -> int:
    """Put a VM to rest with its memory. NAME is a branch or a VM (default: the current branch).

    What runs in it goes on at the next `tachikoma spawn`. Nothing in the VM may use the worktree
    meanwhile, a shell neither. An engine that cannot do this shuts the VM down in order instead.
    """
    return rest(door, name)


def rest(door: Door, name: str | None) -> int:
    """Suspend a VM and tell how it went."""
    request = SuspendRequest(Target(cwd=door.runtime.cwd, name=name))
    outcome = door.run(lambda runtime: runtime.orchestrator.suspend(request, door.screen.report))
    how = "suspended" if outcome.suspended else "halted"
    data: encode.Data = {
        "name": outcome.name,
        "branch": outcome.branch,
        "was_running": outcome.was_running,
        "how": how,
        "why": outcome.why,
    }
    door.screen.give(data, [f"{outcome.name} {_said(outcome, how)}"])
    return 0


def _said(outcome: SuspendOutcome, how: str) -> str:
    if not outcome.was_running:
        return "was not running"
    return f"{how}: {outcome.why}" if outcome.why else how
