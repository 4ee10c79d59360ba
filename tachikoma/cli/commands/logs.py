"""``tachikoma logs [NAME] [-f]``."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click

from tachikoma.cli import words
from tachikoma.cli.completing import vms
from tachikoma.cli.door import Door
from tachikoma.cli.verb import Verb
from tachikoma.host.tail import Tail
from tachikoma.model.errors import UsageError
from tachikoma.model.names import VmName
from tachikoma.runtime import Runtime
from tachikoma.vm.requests import StatusRequest, Target

SOURCES = ("setup", "console", "proxy")
_PAUSE_S = 0.25
_LOOKS_A_GONE_CHECK = 8
_EXAMPLES = """\b
Examples:
  tachikoma logs
  tachikoma logs feature/login -f
  tachikoma logs --source proxy -n 5 --json
"""


@dataclass(frozen=True, slots=True)
class Source:
    """One log of a VM: its lines, and how each reads."""

    name: str
    path: Path
    tail: Tail
    read: Callable[[str], str]


@click.command("logs", cls=Verb, epilog=_EXAMPLES)
@click.argument("name", required=False, shell_complete=vms)
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option("-n", "--lines", type=click.IntRange(0), default=50, help="Of each log; default 50.")
@click.option(
    "--source", "only", type=click.Choice(SOURCES), multiple=True, help="Only this log; repeatable."
)
@click.pass_obj
def command(
    door: Door, *, name: str | None, follow: bool, lines: int, only: tuple[str, ...]
) -> int:
    """Show what was said about a VM. NAME is a branch or a VM (default: the current branch).

    `setup` is its making and provisioning, `console` what its kernel and services print, and
    `proxy` its requests to the credential proxy. With --follow it ends when the VM is destroyed.
    """
    if follow and door.screen.as_json:
        raise UsageError("--follow has no end, and --json has one", hint="leave one of them out")
    return door.run(lambda runtime: _work(door, runtime, name, only or SOURCES, lines, follow))


async def _work(
    door: Door,
    runtime: Runtime,
    name: str | None,
    only: tuple[str, ...],
    lines: int,
    follow: bool,  # noqa: FBT001 - as click has it
) -> int:
    request = StatusRequest(Target(cwd=runtime.cwd, name=name))
    status = await runtime.orchestrator.status(request, door.screen.report)
    vm = status.vm.name
    sources = [each for each in _sources(runtime, vm, status.log) if each.name in only]
    found = {each.name: each.tail.last(lines) for each in sources}
    if not follow:
        for each in sources:
            found[each.name] = [*found[each.name], *each.tail.rest()][-lines:] if lines else []
    show = _Show(door, wide=len(sources) > 1)
    if door.screen.as_json:
        logs = {each.name: {"path": str(each.path), "lines": found[each.name]} for each in sources}
        door.screen.give({"name": vm, "logs": logs})
        return 0
    for each in sources:
        show(each, found[each.name])
    if not any(found.values()) and not follow:
        door.screen.note(f"nothing was said about {vm} yet")
    if follow:
        await _follow(runtime, vm, sources, show)
        door.screen.note(f"{vm} is gone")
    return 0


class _Show:
    """Writes lines, with the name of their log before each if there are several."""

    def __init__(self, door: Door, *, wide: bool) -> None:
        self._screen = door.screen
        self._wide = wide

    def __call__(self, source: Source, lines: list[str]) -> None:
        """Write ``lines`` of ``source``."""
        mark = self._screen.style(f"{source.name:<7} | ", "dim") if self._wide else ""
        if lines:
            told = [words.clean(source.read(line)).replace("\t", "    ") for line in lines]
            self._screen.give({}, [f"{mark}{line}" for line in told])


async def _follow(runtime: Runtime, vm: VmName, sources: list[Source], show: _Show) -> None:
    """Show what comes until the VM is destroyed."""
    looks = 0
    while True:
        for each in sources:
            show(each, each.tail.more())
        looks += 1
        if looks % _LOOKS_A_GONE_CHECK == 0 and vm not in runtime.store.read().vms:
            return
        await runtime.clock.sleep(_PAUSE_S)


def _sources(runtime: Runtime, vm: VmName, console: str) -> list[Source]:
    requests = runtime.proxy_plan().requests_file
    setup, said = runtime.journal.path(vm), Path(console)
    return [
        Source("setup", setup, Tail(setup), str),
        Source("console", said, Tail(said), str),
        Source("proxy", requests, Tail(requests, wanted=lambda line: is_of(vm, line)), request),
    ]


def is_of(vm: VmName, line: str) -> bool:
    """Tell whether a line of the request log is about ``vm``."""
    if vm not in line:  # decoding each line of a long log takes long
        return False
    return _decoded(line).get("vm") == vm


def request(line: str) -> str:
    """Give a line of the request log as people read it."""
    entry = _decoded(line)

    def text(key: str) -> str:
        return str(entry.get(key) or "")

    spent = entry.get("duration_s")
    took = words.seconds(spent) if isinstance(spent, int | float) else ""
    parts = (text("time"), text("method"), text("path"), text("status"), took, text("verdict"))
    why = text("why")
    return " ".join(filter(None, parts)) + (f": {why}" if why else "")


def _decoded(line: str) -> dict[str, object]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
