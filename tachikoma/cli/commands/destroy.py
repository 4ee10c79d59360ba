"""``tachikoma destroy [NAME]``, also called ``delete``."""

from __future__ import annotations

import click

from tachikoma.cli import encode, words
from tachikoma.cli.completing import vms
from tachikoma.cli.door import Door
from tachikoma.cli.lookup import record_of
from tachikoma.cli.ssh_access import keep_fresh
from tachikoma.cli.verb import Verb
from tachikoma.vm.requests import DestroyRequest, Target

_EXAMPLES = """\b
Examples:
  tachikoma destroy feature/login
  tachikoma destroy tachikoma-app-main --yes
"""


@click.command("destroy", cls=Verb, epilog=_EXAMPLES)
@click.argument("name", required=False, shell_complete=vms)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--force", is_flag=True, help="Do not ask, and do not wait for the guest to end.")
@click.pass_obj
def command(door: Door, *, name: str | None, yes: bool, force: bool) -> int:
    """Remove a VM with its disk. NAME is a branch or a VM (default: the current branch).

    The worktree and the branch stay, and so does every commit made in the VM.
    """
    if not (yes or force) and not door.confirm(_question(door, name)):
        door.screen.note("nothing was destroyed")
        return 1
    request = DestroyRequest(Target(cwd=door.runtime.cwd, name=name), force=force)
    outcome = door.run(lambda runtime: runtime.orchestrator.destroy(request, door.screen.report))
    keep_fresh(door)
    text = [f"{outcome.name} destroyed"]
    if outcome.worktree is not None:
        where = words.home(outcome.worktree, door.runtime.paths.home)
        text.append(words.clean(f"  the branch {outcome.branch} stays, and its worktree {where}"))
    door.screen.give(encode.destroyed(outcome), text)
    return 0


def _question(door: Door, name: str | None) -> str:
    door.check_somebody_answers()
    record = door.run(lambda _: record_of(door, name), settled=False)
    which = f"{record.name} (branch {record.branch})" if record else name or "the VM"
    return f"Destroy {which} with its disk?"
