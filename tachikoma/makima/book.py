"""The daemon's book: its tasks and what it still has to say, in one SQLite file."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from tachikoma.host.clock import Clock
from tachikoma.makima.commands import SpawnTask
from tachikoma.makima.database import Database, looked_at, opened
from tachikoma.makima.messages import Message
from tachikoma.makima.outbox import Outbox, Stored
from tachikoma.makima.record import TaskRecord, TaskStatus
from tachikoma.makima.rows import CHANGING, KEY, NotARecordError, from_row, to_row
from tachikoma.makima.wire import encode
from tachikoma.model.errors_fleet import BookError

MOST_BYTES = 512 * 1024 * 1024
"""How much the daemon keeps to be said before whoever makes output has to wait."""

_ALL = ", ".join(("arrival", "said", *CHANGING))
_SELECT = f"SELECT {_ALL} FROM tasks JOIN orders ON task = id"  # noqa: S608 - constant names
_INSERT = (
    f"INSERT INTO tasks ({', '.join((*KEY, *CHANGING))}) "  # noqa: S608 - constant names
    f"VALUES ({', '.join('?' * len((*KEY, *CHANGING)))})"
)
_UPDATE = f"UPDATE tasks SET {', '.join(f'{name} = ?' for name in CHANGING)} WHERE id = ?"  # noqa: S608 - constant names


class Book:
    """Tasks by id, and an outbox. What a method has written when it returns survives the death of
    the daemon.

    If starting fails, nothing is held. On stop the file is closed and another daemon may have it.
    The only secrets in it are the keys of orchestrators' tools, good until their task has ended;
    the file is for its user only. Every method raises BookError if the file is damaged or gone, and
    those that write raise DiskFullError, and then have written nothing.
    """

    def __init__(
        self, path: Path, database: Database, *, machine_id: str, outbox: Outbox, clock: Clock
    ) -> None:
        self.machine_id = machine_id
        """Made with the file and kept in it: who deletes the file is another machine."""
        self._path = path
        self._database = database
        self._outbox = outbox
        self._clock = clock

    @classmethod
    @contextlib.asynccontextmanager
    async def at(
        cls, path: Path, *, clock: Clock, most_bytes: int = MOST_BYTES
    ) -> AsyncIterator[Book]:
        """Hold the book at ``path`` as its only daemon; made if need be, for its user only.

        Raises:
            BookError: another daemon holds it; it is damaged, or something else.
            BookTooNewError: a later tachikoma wrote it.
            HostError: the file cannot be made or opened.
        """
        async with opened(path, birth={"machine_id": str(uuid.uuid4())}) as database:
            ((newest,),) = await database.rows(
                "SELECT seq FROM sqlite_sequence WHERE name = 'outbox'"
            )
            yield cls(
                path,
                database,
                machine_id=await _machine_id(path, database),
                outbox=Outbox(database, newest=newest, most_bytes=most_bytes),
                clock=clock,
            )

    async def admit(self, order: SpawnTask) -> TaskRecord | None:
        """Take a task up as the last in the queue; None if the book has one of that id already."""
        created = self._clock.now()
        async with self._database.transaction() as connection:
            found = await connection.execute_fetchall(
                "SELECT COALESCE(MAX(arrival), 0), COALESCE(SUM(id = ?), 0) FROM tasks",
                (str(order.task_id),),
            )
            ((last, known),) = found
            if known:
                return None
            record = TaskRecord(
                order=order, arrival=last + 1, status=TaskStatus.PENDING, created=created
            )
            await connection.execute(_INSERT, (str(record.id), record.arrival, *to_row(record)))
            await connection.execute(
                "INSERT INTO orders VALUES (?, ?)", (str(record.id), encode(order))
            )
        return record

    async def task(self, task: UUID) -> TaskRecord | None:
        """Give a task; None if there is none of that id."""
        found = await _records(self._path, self._database, " WHERE id = ?", (str(task),))
        return found[0] if found else None

    async def tasks(self) -> list[TaskRecord]:
        """Give all tasks in the order of their arrival."""
        return await _records(self._path, self._database, " ORDER BY arrival")

    async def write(self, record: TaskRecord, *, say: Sequence[Message] = ()) -> None:
        """Keep ``record`` as it is now and append ``say`` to the outbox: both or nothing. Its order
        and arrival stay what they were.
        """
        await self._outbox.say(say, change=(_UPDATE, (*to_row(record), str(record.id))))

    async def say(self, messages: Sequence[Message]) -> None:
        """Append ``messages`` to the outbox, all or none. Never waits for room."""
        await self._outbox.say(messages)

    async def room(self) -> None:
        """Wait while the outbox is at its bound; for those who make output, before they say it."""
        await self._outbox.room()

    @property
    def said(self) -> int:
        """The ``seq`` of the last message that was ever said, or higher."""
        return self._outbox.said

    async def waiting(self, after: int, *, most_bytes: int) -> list[Stored]:
        """Give the oldest messages after ``after``, in order: one at least if there is one, and
        not much above ``most_bytes`` together.
        """
        return await self._outbox.waiting(after, most_bytes=most_bytes)

    async def more(self, since: int) -> None:
        """Wait until something was said after `said` was ``since``."""
        await self._outbox.more(since)

    async def delivered(self, up_to: int) -> None:
        """Forget the messages up to ``up_to``. Idempotent."""
        await self._outbox.delivered(up_to)


class BookReader:
    """The tasks of a book, for other processes than its daemon."""

    def __init__(self, path: Path, database: Database, *, machine_id: str) -> None:
        self.machine_id = machine_id
        self._path = path
        self._database = database

    @classmethod
    @contextlib.asynccontextmanager
    async def at(cls, path: Path) -> AsyncIterator[BookReader]:
        """Open the book at ``path``, whether a daemon holds it or not.

        Raises:
            BookError: there is none; it is damaged, or something else.
            BookTooNewError: a later tachikoma wrote it.
        """
        async with looked_at(path) as database:
            yield cls(path, database, machine_id=await _machine_id(path, database))

    async def task(self, task: UUID) -> TaskRecord | None:
        """Give a task; None if there is none of that id."""
        found = await _records(self._path, self._database, " WHERE id = ?", (str(task),))
        return found[0] if found else None

    async def tasks(self) -> list[TaskRecord]:
        """Give all tasks in the order of their arrival."""
        return await _records(self._path, self._database, " ORDER BY arrival")

    async def unsent(self) -> tuple[int, int]:
        """Give how many messages wait to be delivered, and their bytes."""
        ((count, size),) = await self._database.rows(
            "SELECT COUNT(*), COALESCE(SUM(size), 0) FROM outbox"
        )
        return count, size


async def _records(
    path: Path, database: Database, which: str, values: Sequence[object] = ()
) -> list[TaskRecord]:
    rows = await database.rows(_SELECT + which, values)
    try:
        return [from_row(arrival, order, row) for arrival, order, *row in rows]
    except NotARecordError as error:
        raise _damaged(path, str(error)) from error


async def _machine_id(path: Path, database: Database) -> str:
    found: list[tuple[Any, ...]] = await database.rows(
        "SELECT value FROM book WHERE name = 'machine_id'"
    )
    if not found:
        raise _damaged(path, "the id of this machine is missing")
    return str(found[0][0])


def _damaged(path: Path, what: str) -> BookError:
    return BookError(
        f"the makima daemon's database {path} is damaged: {what}",
        hint="move it away and start the daemon anew, or restore it from a backup",
    )
