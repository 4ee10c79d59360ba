"""``tachikoma enter [NAME]``."""

from __future__ import annotations

import shlex

import click

from tachikoma.cli import encode
from tachikoma.cli.completing import vms
from tachikoma.cli.door import Door
from tachikoma.cli.verb import Verb
from tachikoma.vm.requests import ReachRequest, Target

_EXAMPLES = """\b
Examples:
  tachikoma enter
  tachikoma enter feature/login
"""


@click.command("enter", cls=Verb, epilog=_EXAMPLES)
@click.argument("name", required=False, shell_complete=vms)
@click.pass_obj
def command(door: Door, *, name: str | None) -> int:
    """Go into a VM that runs. NAME is a branch or a VM (default: the current branch).

    Without a terminal it prints the ssh command that would.
    """
    request = ReachRequest(Target(cwd=door.runtime.cwd, name=name))
    outcome = door.run(lambda runtime: runtime.orchestrator.reach(request, door.screen.report))
    worktree = str(outcome.worktree)
    if door.interactive:
        return door.go_into(outcome.login, directory=worktree)
    ssh = door.runtime.shell.attach_argv(outcome.login, directory=worktree)
    door.screen.give(encode.reached(outcome, ssh), [shlex.join(ssh)])
    return 0
