"""``tachikoma halt [NAME]``, also called ``stop``."""

from __future__ import annotations

import click

from tachikoma.cli import encode
from tachikoma.cli.door import Door
from tachikoma.cli.verb import Verb
from tachikoma.vm.requests import HaltRequest, Target


@click.command("halt", cls=Verb)
@click.argument("name", required=False)
@click.option("--force", is_flag=True, help="Switch it off without waiting for the guest.")
@click.pass_obj
def command(door: Door, *, name: str | None, force: bool) -> int:
    """Stop a VM and keep its disk. NAME is a branch or a VM (default: the current branch).

    `tachikoma spawn` starts it again.
    """
    request = HaltRequest(Target(cwd=door.runtime.cwd, name=name), force=force)
    outcome = door.run(lambda runtime: runtime.orchestrator.halt(request, door.screen.report))
    said = "halted" if outcome.was_running else "was not running"
    door.screen.give(encode.halted(outcome), [f"{outcome.name} {said}"])
    return 0
