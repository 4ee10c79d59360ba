"""``tachikoma suspend [NAME]``."""

from __future__ import annotations

import click

from tachikoma.cli import encode
from tachikoma.cli.door import Door
from tachikoma.cli.verb import Verb
from tachikoma.vm.requests import HaltRequest, Target

_WHY = "a suspended Linux guest does not come back whole"


@click.command("suspend", cls=Verb)
@click.argument("name", required=False)
@click.pass_obj
def command(door: Door, *, name: str | None) -> int:
    """Put a VM to rest. NAME is a branch or a VM (default: the current branch).

    A suspended Linux guest does not come back whole, so this shuts it down in order: its disk
    stays, what ran in it ends. `tachikoma spawn` starts it again.
    """
    request = HaltRequest(Target(cwd=door.runtime.cwd, name=name))
    outcome = door.run(lambda runtime: runtime.orchestrator.halt(request, door.screen.report))
    why = door.runtime.hypervisor.features.suspend.why or _WHY
    said = f"halted: {why}" if outcome.was_running else "was not running"
    door.screen.give(
        {**encode.halted(outcome), "how": "halted", "why": why}, [f"{outcome.name} {said}"]
    )
    return 0
