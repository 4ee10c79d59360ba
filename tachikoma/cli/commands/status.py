"""``tachikoma status [NAME]``."""

from __future__ import annotations

from pathlib import Path

import click

from tachikoma.cli import encode, words
from tachikoma.cli.commands.list import state_of
from tachikoma.cli.completing import vms
from tachikoma.cli.door import Door
from tachikoma.cli.host_summary import HostSummary, summarise
from tachikoma.cli.render import state_looks
from tachikoma.cli.spent import Spent
from tachikoma.cli.verb import Verb
from tachikoma.model.errors import GitError, VmNotFoundError
from tachikoma.proxy.prices import parse_prices
from tachikoma.proxy.spending import Budget
from tachikoma.vm.requests import StatusOutcome, StatusRequest, Target, VmReport

_EXAMPLES = """\b
Examples:
  tachikoma status
  tachikoma status feature/login --json
"""


@click.command("status", cls=Verb, epilog=_EXAMPLES)
@click.argument("name", required=False, shell_complete=vms)
@click.pass_obj
def command(door: Door, *, name: str | None) -> int:
    """Look closely at a VM: NAME is a branch or a VM.

    Without NAME: the VM of the current branch, if there is one, and this host.
    """
    outcome, why, host = door.run(lambda _: _look(door, name))
    data: encode.Data = {"vm": None if outcome is None else encode.status(outcome)}
    lines = door.screen.wrapped(why) if outcome is None else _vm_lines(door, outcome)
    if outcome is not None and (spent := _spent(door, outcome.vm)) is not None:
        data["usage"] = spent.data()
        lines += _rows([("usage", spent.told())])
    if host is not None:
        data["host"] = host.data()
        lines += ["", door.screen.style("this host", "bold"), *_rows(host.rows())]
    door.screen.give(data, lines)
    return 0


async def _look(
    door: Door, name: str | None
) -> tuple[StatusOutcome | None, str, HostSummary | None]:
    request = StatusRequest(Target(cwd=door.runtime.cwd, name=name))
    look = door.runtime.orchestrator.status
    if name is not None:
        return await look(request, door.screen.report), "", None
    try:
        outcome, why = await look(request, door.screen.report), ""
    except (VmNotFoundError, GitError) as error:
        outcome, why = None, words.clean(f"{error.message}; {error.hint}".removesuffix("; "))
    return outcome, why, await summarise(door)


def _vm_lines(door: Door, outcome: StatusOutcome) -> list[str]:
    vm, style = outcome.vm, door.screen.style
    now, home = door.runtime.clock.now(), door.runtime.paths.home
    state = state_of(vm)
    phase = outcome.phase.lower()
    shown = state if phase in (state, "absent") else f"{state}, {phase}"
    rows = [
        ("branch", vm.branch or "-"),
        ("repository", words.home(_root(vm.repository), home)),
        ("worktree", words.home(vm.worktree, home)),
        *([("address", str(outcome.address))] if outcome.address else []),
        ("engine", f"{vm.engine}, image {vm.image}"),
        (
            "size",
            ", ".join(
                (
                    words.count(vm.cpus, "CPU"),
                    f"{words.memory(vm.memory_mib)} of memory",
                    f"{words.size(vm.disk_bytes)} on disk",
                )
            ),
        ),
        ("created", words.age(vm.created, now)),
        ("last used", words.age(vm.last_used, now)),
        *(("mount", f"{tag}  {words.home(where, home)}") for tag, where in outcome.mounts),
        ("log", outcome.log),
    ]
    head = f"{style(vm.name, 'bold')}  {style(shown, *state_looks(state))}"
    return [head, *_rows(rows)]


def _spent(door: Door, vm: VmReport) -> Spent | None:
    """Say what the VM's model calls took; None where it has no budget and made none."""
    settings = door.runtime.settings
    budget = Budget(settings.budget_usd, settings.budget_tokens)
    sums = door.runtime.usage_book.of_vm(vm.name, since=vm.created or 0.0)
    if not sums and budget == Budget():
        return None
    return Spent(sums, budget, parse_prices(settings.prices))


def _root(git_dir: Path | None) -> Path | None:
    """Give the directory that people call the repository."""
    return git_dir.parent if git_dir is not None and git_dir.name == ".git" else git_dir


def _rows(rows: list[tuple[str, str]]) -> list[str]:
    return [f"  {words.pad(key, 12)}{words.clean(value)}" for key, value in rows]
