"""``tachikoma makima logs TASK [-f]``."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path

import click

from tachikoma.cli import words
from tachikoma.cli.completing import asked
from tachikoma.cli.door import Door
from tachikoma.cli.makima.fleet import fleet
from tachikoma.cli.makima.loading import config_option, load
from tachikoma.cli.makima.tasks import named
from tachikoma.cli.makima.transcript import Transcript
from tachikoma.cli.verb import Verb
from tachikoma.makima.record import TaskRecord
from tachikoma.makima.tasklog import TaskLogReader, task_log
from tachikoma.model.errors import UsageError
from tachikoma.model.errors_fleet import TaskNotFoundError

_PAUSE_S = 0.25
_LOOKS_AN_END_CHECK = 4
_ROOM_IN_A_PIPE = 200
_MOST_NAMED = 5
_EXAMPLES = """\b
Examples:
  tachikoma makima logs 6ba7b810
  tachikoma makima logs makima/task-6ba7b810 -f
  tachikoma makima logs 6ba7 --raw | jq -r 'select(.type == "result").result'
"""


async def _tasks(door: Door) -> dict[str, str]:
    database = load(door, None).settings.local_db.path
    found = await fleet(door).makima_tasks(database)
    return {str(task.id)[:8]: task.order.task_name for task in found}


@click.command("logs", cls=Verb, epilog=_EXAMPLES)
@click.argument(
    "task",
    shell_complete=lambda context, _parameter, begun: asked(context, begun, _tasks),
)
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until the task ends.")
@click.option("-n", "--lines", type=click.IntRange(0), help="Only the last lines that it printed.")
@click.option("--raw", is_flag=True, help="The lines as the agent printed them: JSON.")
@config_option
@click.pass_obj
def command(
    door: Door, *, task: str, follow: bool, lines: int | None, raw: bool, config: Path | None
) -> int:
    """Show what the agent of a task said and did. TASK is the beginning of its id, or its branch.

    The daemon need not run, but with --follow nothing comes unless it does.
    """
    if follow and door.screen.as_json:
        raise UsageError("--follow has no end, and --json has one", hint="leave one of them out")
    database = load(door, config).settings.local_db.path
    return door.run(
        lambda _: _Showing(door, database, raw=raw).show(task, lines, follow=follow), settled=False
    )


class _Showing:
    def __init__(self, door: Door, database: Path, *, raw: bool) -> None:
        terminal = door.terminal
        self._door = door
        self._database = database
        self._raw = raw
        room = terminal.columns() if terminal.out_tty else _ROOM_IN_A_PIPE
        self._transcript = Transcript(room=room)

    async def show(self, name: str, lines: int | None, *, follow: bool) -> int:
        task = await self._found(name)
        path = task_log(self._database, task.id)
        reader = TaskLogReader(path)
        if self._door.screen.as_json:
            kept = list(deque(_whole(reader), maxlen=lines))
            self._door.screen.give({"id": str(task.id), "path": str(path), "lines": kept})
            return 0
        empty = not self._begin(reader, lines, to_its_end=not follow or task.status.ended)
        if follow:
            await self._follow(task, reader)
        elif empty and lines != 0:
            self._door.screen.note("its agent has said nothing yet")
        return 0

    def _begin(self, reader: TaskLogReader, lines: int | None, *, to_its_end: bool) -> bool:
        """Show what is there, and tell whether that was anything."""
        last: deque[str] = deque(maxlen=lines)
        any_came = False
        while found := reader.more():
            any_came = True
            if lines is None:
                self._put(found)
            else:
                last += found
        rest = reader.rest() if to_its_end else []
        self._put([*last, *rest])
        return any_came or bool(rest)

    async def _follow(self, task: TaskRecord, reader: TaskLogReader) -> None:
        while not task.status.ended:
            for _ in range(_LOOKS_AN_END_CHECK):
                self._put(reader.more())
                await self._door.runtime.clock.sleep(_PAUSE_S)
            task = await self._found(str(task.id))
        self._put([*_whole(reader)])
        why = f": {task.error}" if task.error else ""
        self._door.screen.note(f"the task has ended: {task.status.value}{why}")

    async def _found(self, name: str) -> TaskRecord:
        tasks = named(await fleet(self._door).makima_tasks(self._database), name)
        if len(tasks) == 1:
            return tasks[0]
        if not tasks:
            raise TaskNotFoundError(
                f"there is no task {name!r}", hint="`tachikoma makima tasks --all` lists them"
            )
        names = ", ".join(f"{task.id} ({task.order.task_name})" for task in tasks[:_MOST_NAMED])
        raise TaskNotFoundError(
            f"{words.count(len(tasks), 'task')} begin with {name!r}",
            hint=f"give more of the id: {names}{', ...' if len(tasks) > _MOST_NAMED else ''}",
        )

    def _put(self, lines: list[str]) -> None:
        screen = self._door.screen
        for line in lines:
            if self._raw:
                # Into a pipe as it is: making it visible would break the JSON.
                screen.give({}, [words.clean(line) if self._door.terminal.out_tty else line])
            elif pieces := self._transcript(line):
                screen.give({}, [screen.style(each.text, *each.looks) for each in pieces])


def _whole(reader: TaskLogReader) -> Iterator[str]:
    while found := reader.more():
        yield from found
    yield from reader.rest()
