"""Reaching the server from a command, and finding the task that is meant."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import TypeVar

import click

from tachikoma.cli import words
from tachikoma.cli.door import Door
from tachikoma.makima.client.account import account, account_file, server_url
from tachikoma.makima.client.calls import Json, ServerCalls
from tachikoma.model.errors_fleet import TaskNotFoundError

_MOST_NAMED = 5
_ID = re.compile(r"[0-9a-f-]{1,36}", re.ASCII)
_MANY = 500
T = TypeVar("T")

server_option = click.option(
    "--server",
    metavar="URL",
    help="The makima server, instead of the one you are logged in to.",
)


def calling(door: Door, url: str | None, work: Callable[[ServerCalls], Awaitable[T]]) -> T:
    """Run ``work`` with the user's server.

    Raises:
        NotLoggedInError: none is set up.
        RequestError: it refuses, or does not answer.
    """

    async def everything(_: object) -> T:
        runtime = door.runtime
        given = account(
            account_file(runtime.paths.config),
            runtime.environ,
            url=server_url(url) if url else None,
        )
        async with ServerCalls(given, clock=runtime.clock) as server:
            return await work(server)

    return door.run(everything, settled=False)


async def found(server: ServerCalls, name: str) -> Json:
    """Give the task that ``name`` means: the beginning of its id, else its branch or its name.

    Raises:
        TaskNotFoundError: none is called so, or several are.
    """
    tasks: list[Json] = []
    if _ID.fullmatch(name.lower()):
        tasks = await _listed(server, begin=name.lower())
    if not tasks:
        tasks = [task for task in await _listed(server) if name in {task["branch"], task["name"]}][
            :1
        ]
    if not tasks:
        raise TaskNotFoundError(
            f"there is no task {name!r}", hint="`tachikoma task list --all` lists them"
        )
    if len(tasks) > 1:
        names = ", ".join(f"{task['id']} ({task['name']})" for task in tasks[:_MOST_NAMED])
        raise TaskNotFoundError(
            f"{words.count(len(tasks), 'task')} begin with {name!r}",
            hint=f"give more of the id: {names}{', ...' if len(tasks) > _MOST_NAMED else ''}",
        )
    return tasks[0]


async def _listed(server: ServerCalls, **query: str | int) -> list[Json]:
    tasks: list[Json] = []
    for archived in ("false", "true"):
        page = await server.get("/tasks", {"limit": _MANY, "archived": archived, **query})
        tasks += page["items"]
    return tasks
