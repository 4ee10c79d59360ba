"""``tachikoma list``, also called ``ls``."""

from __future__ import annotations

import click

from tachikoma.cli import encode, words
from tachikoma.cli.door import Door
from tachikoma.cli.table import Column
from tachikoma.cli.verb import Verb
from tachikoma.vm.requests import SurveyRequest, VmReport

_COLUMNS = (
    Column("NAME", least=32),
    Column("BRANCH", least=18),
    Column("STATE"),
    Column("CPUS", drop=3, right=True),
    Column("MEMORY", drop=2, right=True),
    Column("DISK", drop=1, right=True),
    Column("LAST USED"),
    Column("WORKTREE", drop=4, least=16, keep_end=True),
)


_EXAMPLES = """\b
Examples:
  tachikoma list
  tachikoma list --repo
  tachikoma list --json | jq -r '.data.vms[].name'
"""


@click.command("list", cls=Verb, epilog=_EXAMPLES)
@click.option("--repo", is_flag=True, help="Only the VMs of the repository in this directory.")
@click.pass_obj
def command(door: Door, *, repo: bool) -> int:
    """List the VMs with what they take up. A narrow terminal leaves the last columns out."""
    request = SurveyRequest(repository_at=door.runtime.cwd if repo else None)
    vms = door.run(lambda runtime: runtime.orchestrator.survey(request, door.screen.report)).vms
    data = {"vms": [encode.vm(one) for one in vms]}
    if not vms:
        where = " of this repository" if repo else ""
        door.screen.give(data)
        door.screen.note(f"no VMs{where} yet; `tachikoma spawn` makes one")
        return 0
    now, home = door.runtime.clock.now(), door.runtime.paths.home
    rows = [
        [
            one.name,
            one.branch or "-",
            state_of(one),
            str(one.cpus or "-"),
            words.memory(one.memory_mib) if one.memory_mib else "-",
            words.size(one.disk_bytes) if one.disk_bytes else "-",
            words.age(one.last_used, now),
            words.home(one.worktree, home),
        ]
        for one in vms
    ]
    door.screen.give(data, door.screen.table(_COLUMNS, rows))
    return 0


def state_of(vm: VmReport) -> str:
    """Give the state in one word; a record whose VM is not there any more is ``gone``."""
    return "gone" if vm.state is None else vm.state.value
