"""``tachikoma ports open|list|close``."""

from __future__ import annotations

import click

from tachikoma.cli import encode, words
from tachikoma.cli.completing import vms
from tachikoma.cli.door import Door
from tachikoma.cli.lookup import record_of
from tachikoma.cli.table import Column
from tachikoma.cli.verb import Verb, VerbGroup
from tachikoma.model.errors import UsageError, VmNotFoundError
from tachikoma.model.names import VmName
from tachikoma.runtime import Runtime
from tachikoma.ssh.port import Forward
from tachikoma.vm.requests import ReachRequest, Target

_COLUMNS = (
    Column("NAME", least=24),
    Column("GUEST PORT", right=True),
    Column("ADDRESS"),
    Column("SINCE", drop=1),
)
_EXAMPLES = """\b
Examples:
  tachikoma ports open 3000
  tachikoma ports list
  tachikoma ports close 3000
"""
_OPEN_EXAMPLES = """\b
Examples:
  tachikoma ports open 3000                    at 127.0.0.1:3000
  tachikoma ports open 5432:15432 feature/db   its 5432 at 127.0.0.1:15432
"""
_LIST_EXAMPLES = """\b
Examples:
  tachikoma ports list
  tachikoma ports list feature/db --json
"""
_CLOSE_EXAMPLES = """\b
Examples:
  tachikoma ports close 3000
  tachikoma ports close --all feature/db
"""
_HIGHEST = 65_535


@click.group("ports", cls=VerbGroup, invoke_without_command=True, epilog=_EXAMPLES)
@click.pass_context
def command(context: click.Context) -> int:
    """Reach what listens in a VM at this host's loopback, also with network = "proxy".

    A forwarded port stays until it is closed, or until its VM is halted, suspended, destroyed or
    ends. Without a command it lists them all.
    """
    if context.invoked_subcommand is not None:
        return 0
    door = context.find_object(Door)
    assert door is not None
    return _list(door, None)


@command.command("open", cls=Verb, epilog=_OPEN_EXAMPLES)
@click.argument("port", metavar="PORT[:HOST_PORT]")
@click.argument("name", required=False, shell_complete=vms)
@click.pass_obj
def open_port(door: Door, *, port: str, name: str | None) -> int:
    """Forward PORT of a running VM to 127.0.0.1, there at the same port or at HOST_PORT.

    NAME is a branch or a VM (default: the current branch). In the VM it leads to localhost.
    """
    guest_port, host_port = _ports(port)
    request = ReachRequest(Target(cwd=door.runtime.cwd, name=name))

    async def work(runtime: Runtime) -> Forward:
        reached = await runtime.orchestrator.reach(request, door.screen.report)
        return await runtime.forwards.open(
            reached.login, guest_port=guest_port, host_port=host_port
        )

    made = door.run(work)
    door.screen.give(_data(made), [f"{made.vm}:{made.guest_port} is at 127.0.0.1:{made.host_port}"])
    return 0


@command.command("list", cls=Verb, epilog=_LIST_EXAMPLES)
@click.argument("name", required=False, shell_complete=vms)
@click.pass_obj
def list_ports(door: Door, *, name: str | None) -> int:
    """List the forwarded ports: all, or those of NAME, a branch or a VM."""
    return _list(door, name)


def _list(door: Door, name: str | None) -> int:
    async def work(runtime: Runtime) -> list[Forward]:
        found = runtime.forwards.all()
        if name is None:
            return found
        wanted = await _vm(door, name)
        return [one for one in found if one.vm == wanted]

    found = door.run(work)
    data: encode.Data = {"ports": [_data(one) for one in found]}
    if not found:
        door.screen.give(data)
        door.screen.note("no ports are forwarded; `tachikoma ports open PORT` does")
        return 0
    now = door.runtime.clock.now()
    rows = [
        [one.vm, str(one.guest_port), f"127.0.0.1:{one.host_port}", words.age(one.since, now)]
        for one in found
    ]
    door.screen.give(data, door.screen.table(_COLUMNS, rows))
    return 0


@command.command("close", cls=Verb, epilog=_CLOSE_EXAMPLES)
@click.argument("words_", nargs=-1, metavar="[HOST_PORT | --all [NAME]]", shell_complete=vms)
@click.option("--all", "everything", is_flag=True, help="All of the VM NAME.")
@click.pass_obj
def close(door: Door, *, words_: tuple[str, ...], everything: bool) -> int:
    """Close the forwarded port HOST_PORT of this host, or with --all those of a VM."""
    if len(words_) > 1 or (not everything and not words_):
        raise UsageError("say which port to close, or --all", hint="`tachikoma ports list`")
    only = words_[0] if words_ else None

    async def work(runtime: Runtime) -> list[Forward]:
        if everything:
            return await runtime.forwards.close(await _vm(door, only))
        assert only is not None
        host_port = _port(only)
        owner = next((one.vm for one in runtime.forwards.all() if one.host_port == host_port), None)
        if owner is None:
            return []
        return await runtime.forwards.close(owner, host_port=host_port)

    closed = door.run(work)
    told = [f"{one.vm}:{one.guest_port} left 127.0.0.1:{one.host_port}" for one in closed]
    door.screen.give({"closed": [_data(one) for one in closed]}, told)
    if not closed:
        door.screen.note("there was nothing to close")
    return 0


async def _vm(door: Door, name: str | None) -> VmName:
    record = await record_of(door, name)
    if record is None:
        raise VmNotFoundError(
            f"there is no VM for {name or 'the current branch'}",
            hint="`tachikoma list` shows all VMs",
        )
    return record.name


def _ports(text: str) -> tuple[int, int]:
    guest, colon, host = text.partition(":")
    return _port(guest), _port(host if colon else guest)


def _port(text: str) -> int:
    if text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= _HIGHEST:
        return int(text)
    raise UsageError(f"{text!r} is no port", hint="PORT or PORT:HOST_PORT, each from 1 to 65535")


def _data(one: Forward) -> encode.Data:
    return {
        "name": one.vm,
        "guest_port": one.guest_port,
        "host": "127.0.0.1",
        "host_port": one.host_port,
        "pid": one.pid,
        "since": one.since,
    }
