"""``tachikoma makima tasks``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from tachikoma.cli import words
from tachikoma.cli.door import Door
from tachikoma.cli.makima.fleet import fleet
from tachikoma.cli.makima.loading import config_option, load
from tachikoma.cli.table import Column
from tachikoma.cli.verb import Verb
from tachikoma.makima.record import TaskRecord, TaskStatus

_RECENT_S = 24 * 3600
_THOUSAND = 1000
_COLUMNS = (
    Column("ID"),
    Column("NAME", least=16),
    Column("STATUS"),
    Column("IN", drop=4),
    Column("BRANCH", drop=5, least=12),
    Column("CAME", drop=3),
    Column("WORKED", drop=2, right=True),
    Column("TOKENS", drop=2, right=True),
    Column("COST", right=True),
    Column("LAST WORDS", drop=1, least=16),
)
_EXAMPLES = """\b
Examples:
  tachikoma makima tasks
  tachikoma makima tasks --status failed --status interrupted
  tachikoma makima tasks --all --json | jq -r '.data.tasks[].id'
"""


@click.command("tasks", cls=Verb, epilog=_EXAMPLES)
@click.option("--all", "everything", is_flag=True, help="Also those that ended long ago.")
@click.option(
    "--status",
    "statuses",
    type=click.Choice([status.value for status in TaskStatus]),
    multiple=True,
    help="Only these, whenever they ended; repeatable.",
)
@config_option
@click.pass_obj
def command(door: Door, *, everything: bool, statuses: tuple[str, ...], config: Path | None) -> int:
    """List the daemon's tasks in the order in which they came: those that have not ended, and those
    that did in the last 24 hours.

    The daemon need not run. A narrow terminal leaves columns out.
    """
    loaded = load(door, config)
    database = loaded.settings.local_db.path
    found = door.run(lambda _: fleet(door).makima_tasks(database), settled=False)
    now = door.runtime.clock.now()
    shown = [
        task
        for task in found
        if (task.status in statuses if statuses else everything or _is_recent(task, now))
    ]
    data: dict[str, object] = {"tasks": [encoded(task, now) for task in shown]}
    if shown:
        door.screen.give(data, door.screen.table(_COLUMNS, [row(task, now) for task in shown]))
    else:
        door.screen.give(data)
    if hidden := len(found) - len(shown):
        door.screen.note(f"{words.count(hidden, 'more task')}; --all shows all")
    elif not found:
        door.screen.note("no task has come yet")
    return 0


def _is_recent(task: TaskRecord, now: float) -> bool:
    return not task.status.ended or (task.ended or 0.0) > now - _RECENT_S


def row(task: TaskRecord, now: float) -> list[str]:
    """Give a task as a row of the table."""
    figures = task.figures
    tokens = figures.input_tokens + figures.cache_read_tokens + figures.cache_creation_tokens
    return [
        str(task.id)[:8],
        task.order.task_name,
        task.status.value,
        task.isolation.value if task.isolation else "-",
        task.workspace.branch if task.workspace else "-",
        words.age(task.created, now),
        words.seconds(task.worked_s(now)) if task.started is not None else "-",
        short(tokens + figures.output_tokens),
        f"${figures.cost_usd:.2f}" if figures.cost_usd else "-",
        " ".join((task.error or task.summary).split()) or "-",
    ]


def short(number: int) -> str:
    """Give a number as people read it: ``950``, ``12k``, ``3.4M``."""
    if number < _THOUSAND:
        return str(number) if number else "-"
    if number < _THOUSAND**2:
        return f"{number // _THOUSAND}k"
    return f"{number / _THOUSAND**2:.1f}M"


def encoded(task: TaskRecord, now: float) -> dict[str, object]:
    """Give a task as JSON has it."""
    figures, space = task.figures, task.workspace
    return {
        "id": str(task.id),
        "name": task.order.task_name,
        "status": task.status.value,
        "isolation": task.isolation.value if task.isolation else None,
        "repository": task.order.repo_url,
        "branch": space.branch if space else None,
        "worktree": str(space.worktree) if space else None,
        "parent": str(task.order.parent_task_id) if task.order.parent_task_id else None,
        "created": task.created,
        "started": task.started,
        "ended": task.ended,
        "worked_s": round(task.worked_s(now), 3),
        "turns": figures.turns,
        "input_tokens": figures.input_tokens,
        "output_tokens": figures.output_tokens,
        "cache_read_tokens": figures.cache_read_tokens,
        "cache_creation_tokens": figures.cache_creation_tokens,
        "cost_usd": figures.cost_usd,
        "summary": task.summary,
        "error": task.error,
    }


def named(tasks: Sequence[TaskRecord], name: str) -> list[TaskRecord]:
    """Give the tasks that ``name`` may mean: the beginning of an id, or a branch."""
    begun = name.lower().replace("-", "")
    by_branch = [task for task in tasks if task.workspace and task.workspace.branch == name]
    by_id = [task for task in tasks if begun and task.id.hex.startswith(begun)]
    return by_branch[-1:] or by_id
