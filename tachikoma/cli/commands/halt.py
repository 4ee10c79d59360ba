"""``tachikoma halt [NAME]``, also called ``stop``."""

from __future__ import annotations

import click

from tachikoma.cli import encode
from tachikoma.cli.commands.suspend import rest
from tachikoma.cli.completing import vms
from tachikoma.cli.door import Door
from tachikoma.cli.verb import Verb
from tachikoma.model.errors import UsageError
from tachikoma.vm.requests import HaltRequest, Target

_EXAMPLES = """\b
Examples:
  tachikoma halt
  tachikoma halt feature/login --force
"""


@click.command("halt", cls=Verb, epilog=_EXAMPLES)
@click.argument("name", required=False, shell_complete=vms)
@click.option("--force", is_flag=True, help="Switch it off without waiting for the guest.")
@click.option("--suspend", is_flag=True, help="Keep its memory, as `tachikoma suspend` does.")
@click.pass_obj
def command(door: Door, *, name: str | None, force: bool, suspend: bool) -> int:
    """Stop a VM and keep its disk. NAME is a branch or a VM (default: the current branch).

    `tachikoma spawn` starts it again.
    """
    if suspend:
        if force:
            raise UsageError("--force and --suspend exclude each other", hint="leave one out")
        return rest(door, name)
    request = HaltRequest(Target(cwd=door.runtime.cwd, name=name), force=force)
    outcome = door.run(lambda runtime: runtime.orchestrator.halt(request, door.screen.report))
    said = "halted" if outcome.was_running else "was not running"
    door.screen.give(encode.halted(outcome), [f"{outcome.name} {said}"])
    return 0
