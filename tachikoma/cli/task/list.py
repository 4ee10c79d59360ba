"""``tachikoma task list``."""

from __future__ import annotations

import click

from tachikoma.cli import words
from tachikoma.cli.door import Door
from tachikoma.cli.task.server import calling, server_option
from tachikoma.cli.task.words import COLUMNS, row
from tachikoma.cli.verb import Verb
from tachikoma.makima.client.calls import Json, ServerCalls
from tachikoma.makima.record import TaskStatus

_EXAMPLES = """\b
Examples:
  tachikoma task list
  tachikoma task list --status failed --status interrupted
  tachikoma task list --all --json | jq -r '.data.tasks[].id'
"""
_PAGE = 500


@click.command("list", cls=Verb, epilog=_EXAMPLES)
@click.option("--all", "everything", is_flag=True, help="Also archived ones, and all pages.")
@click.option(
    "--status",
    "statuses",
    type=click.Choice([status.value for status in TaskStatus]),
    multiple=True,
    help="Only these; repeatable.",
)
@click.option("-n", "--lines", type=click.IntRange(1, _PAGE), default=50, help="How many (50).")
@server_option
@click.pass_obj
def command(
    door: Door, *, everything: bool, statuses: tuple[str, ...], lines: int, server: str | None
) -> int:
    """List the server's tasks, the newest first. A narrow terminal leaves columns out."""

    async def work(calls: ServerCalls) -> tuple[list[Json], int]:
        if not everything:
            return await _page(calls, statuses, limit=lines, offset=0, archived=False)
        tasks: list[Json] = []
        for archived in (False, True):
            total, before = 1, len(tasks)
            while len(tasks) - before < total:
                offset = len(tasks) - before
                found, total = await _page(
                    calls, statuses, limit=_PAGE, offset=offset, archived=archived
                )
                tasks += found
                if not found:
                    break
        return tasks, len(tasks)

    tasks, total = calling(door, server, work)
    now = door.runtime.clock.now()
    shown = door.screen.table(COLUMNS, [row(task, now) for task in tasks]) if tasks else []
    door.screen.give({"tasks": tasks, "total": total}, shown)
    if hidden := total - len(tasks):
        door.screen.note(f"{words.count(hidden, 'more task')}; --all shows all")
    elif not tasks:
        door.screen.note('no task; `tachikoma task run "What is to be done"` makes one')
    return 0


async def _page(
    calls: ServerCalls, statuses: tuple[str, ...], *, limit: int, offset: int, archived: bool
) -> tuple[list[Json], int]:
    found: list[Json] = []
    total = 0
    for status in statuses or ("",):
        query: dict[str, str | int] = {
            "limit": limit,
            "offset": offset,
            "archived": str(archived).lower(),
        }
        page = await calls.get("/tasks", query | ({"status": status} if status else {}))
        found += page["items"]
        total += page["total"]
    found.sort(key=lambda task: str(task["createdAt"]), reverse=True)
    return found, total
