"""What a word on the command line may become: VMs, branches, keys. Never fails, never waits long.

The shell runs ``tachikoma`` at each press of Tab, so nothing here asks an engine.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import click

from tachikoma.cli.door import Door
from tachikoma.cli.lookup import repository_here
from tachikoma.model.errors import TachikomaError

if TYPE_CHECKING:  # only a shell that completes loads it
    from click.shell_completion import CompletionItem

_PATIENCE_S = 2.0


def vms(context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Complete the name of a VM, or its branch."""
    return asked(context, begun, _vms)


def branches(
    context: click.Context, _parameter: click.Parameter, begun: str
) -> list[CompletionItem]:
    """Complete a branch of the repository here, or a VM."""
    return [*asked(context, begun, _branches), *asked(context, begun, _vms)]


def places(context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Complete one side of a copy: a VM with a colon behind it, or a path of this host."""
    from click.shell_completion import CompletionItem

    if ":" in begun:
        return []
    found = [CompletionItem(f"{item.value}:") for item in asked(context, begun, _vms)]
    return [CompletionItem(begun, type="file"), *found]  # bash takes files where nothing follows


def keys(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Complete a key of the settings."""
    from click.shell_completion import CompletionItem

    from tachikoma.config.layers import KEYS

    return [
        CompletionItem(key.name, help=key.explanation) for key in KEYS if key.name.startswith(begun)
    ]


def branch_words(context: click.Context, begun: str) -> list[CompletionItem]:
    """Complete a first word that names no verb: it is a branch."""
    return asked(context, begun, _branches)


async def _vms(door: Door) -> dict[str, str]:
    """Give the VMs, and the branches of this repository that have one."""
    await door.runtime.load_settings()
    records = door.runtime.store.read().vms.values()
    here = await repository_here(door)
    found = {
        record.branch: record.name
        for record in records
        if here is not None and record.repository == here.git_dir
    }
    return found | {record.name: record.branch for record in records}


async def _branches(door: Door) -> dict[str, str]:
    here = await repository_here(door)
    if here is None:
        return {}
    return dict.fromkeys(await door.runtime.git.branches(here), "branch")


def asked(
    context: click.Context, begun: str, ask: Callable[[Door], Awaitable[dict[str, str]]]
) -> list[CompletionItem]:
    """Complete by what ``ask`` gives, each name with a word about it; nothing if that fails."""
    from click.shell_completion import CompletionItem

    door = context.find_object(Door)
    if door is None:
        return []

    async def soon() -> dict[str, str]:
        async with asyncio.timeout(_PATIENCE_S):
            return await ask(door)

    found: dict[str, str] = {}
    with contextlib.suppress(TachikomaError, TimeoutError):
        found = asyncio.run(soon())
    return [
        CompletionItem(name, help=what)
        for name, what in sorted(found.items())
        if name.startswith(begun)
    ]
