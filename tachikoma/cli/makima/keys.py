"""``tachikoma makima keys create|list|revoke``."""

from __future__ import annotations

from pathlib import Path

import click

from tachikoma.cli import words
from tachikoma.cli.door import Door
from tachikoma.cli.makima.server import database_of, db_option
from tachikoma.cli.table import Column
from tachikoma.cli.verb import Verb, VerbGroup
from tachikoma.makima.server.keyring import Key
from tachikoma.makima.server.shapes import KeyKind
from tachikoma.makima.server.store import keyring_at
from tachikoma.model.errors import UsageError
from tachikoma.runtime import Runtime

_COLUMNS = (
    Column("NAME", least=8),
    Column("KIND"),
    Column("BEGINS", drop=3),
    Column("MADE", drop=2),
    Column("USED", drop=1),
    Column("STATE"),
)
_LONGEST_NAME = 64
_EXAMPLES = """\b
Examples:
  tachikoma makima keys create ada
  tachikoma makima keys create build-machines --daemon
  tachikoma makima keys revoke ada
"""
_CREATE_EXAMPLES = """\b
Examples:
  tachikoma makima keys create ada
  tachikoma makima keys create build-machines --daemon
"""
_LIST_EXAMPLES = """\b
Examples:
  tachikoma makima keys list
"""
_REVOKE_EXAMPLES = """\b
Examples:
  tachikoma makima keys revoke ada
"""


@click.group("keys", cls=VerbGroup, epilog=_EXAMPLES)
def command() -> None:
    """The API keys of the makima server on this machine: who can read its database may make them,
    whether it runs or not.
    """


@command.command("create", cls=Verb, epilog=_CREATE_EXAMPLES)
@click.argument("name")
@click.option("--daemon", is_flag=True, help="For daemons, instead of for a person.")
@db_option
@click.pass_obj
def create(door: Door, *, name: str, daemon: bool, db: Path | None) -> int:
    """Make a key and show it, this once: only its hash is kept."""
    if not name.strip() or not name.isprintable() or len(name) > _LONGEST_NAME:
        raise UsageError(
            "this is no name for a key", hint=f"take 1 to {_LONGEST_NAME} printable characters"
        )
    kind = KeyKind.DAEMON if daemon else KeyKind.USER

    async def work(runtime: Runtime) -> str:
        async with keyring_at(database_of(runtime, db), clock=runtime.clock) as keys:
            return await keys.create(name, kind)

    secret = door.run(work, settled=False)
    door.screen.give({"name": name, "kind": kind.value, "key": secret}, [secret])
    use = (
        "set MAKIMA_API_KEY to it for `makima-daemon`"
        if daemon
        else "give it to `tachikoma makima login`"
    )
    door.screen.note(f"this is the key {name!r}, and it is not shown again; {use}")
    return 0


@command.command("list", cls=Verb, epilog=_LIST_EXAMPLES)
@db_option
@click.pass_obj
def show(door: Door, *, db: Path | None) -> int:
    """List the keys; the keys themselves are not known any more."""

    async def work(runtime: Runtime) -> list[Key]:
        async with keyring_at(database_of(runtime, db), clock=runtime.clock) as keys:
            return await keys.keys()

    found = door.run(work, settled=False)
    now = door.runtime.clock.now()
    rows = [
        [
            key.name,
            key.kind.value,
            f"{key.start}…",
            words.age(key.created, now),
            words.age(key.used, now),
            "good" if key.revoked is None else "revoked",
        ]
        for key in found
    ]
    data: dict[str, object] = {
        "keys": [
            {
                "name": key.name,
                "kind": key.kind.value,
                "begins": key.start,
                "created": key.created,
                "used": key.used,
                "revoked": key.revoked,
            }
            for key in found
        ]
    }
    door.screen.give(data, door.screen.table(_COLUMNS, rows) if rows else [])
    if not rows:
        door.screen.note("there is no key; `tachikoma makima keys create NAME` makes one")
    return 0


@command.command("revoke", cls=Verb, epilog=_REVOKE_EXAMPLES)
@click.argument("name")
@db_option
@click.pass_obj
def revoke(door: Door, *, name: str, db: Path | None) -> int:
    """Make a key useless, at once: sessions of browsers end with it, daemons within a minute."""

    async def work(runtime: Runtime) -> Key:
        async with keyring_at(database_of(runtime, db), clock=runtime.clock) as keys:
            return await keys.revoke(name)

    key = door.run(work, settled=False)
    door.screen.give({"name": key.name, "kind": key.kind.value}, [f"{key.name} is revoked"])
    return 0
