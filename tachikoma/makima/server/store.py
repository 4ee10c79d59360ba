"""The server's store: tasks, what became of them and who did it, in one SQLite file."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from tachikoma.host.clock import Clock
from tachikoma.makima.database import Database, joined, opened
from tachikoma.makima.record import TaskStatus
from tachikoma.makima.server import output
from tachikoma.makima.server.bell import Bells
from tachikoma.makima.server.bodies import TaskQuery
from tachikoma.makima.server.changing import Aftermath, Change
from tachikoma.makima.server.entries import (
    MACHINE_COLUMNS,
    TASK_COLUMNS,
    Entry,
    MachineEntry,
    entry_from,
    machine_from,
)
from tachikoma.makima.server.keyring import Keyring
from tachikoma.makima.server.tables import SERVER
from tachikoma.model.errors_fleet import BookError

EVENTS = "events"
"""The bell of everything that happens."""
_UNDER = (
    "WITH RECURSIVE under (id) AS (SELECT ? UNION"
    " SELECT tasks.id FROM tasks JOIN under ON tasks.parent = under.id) "
)
"""A task and everything below it."""


@dataclass(frozen=True, slots=True)
class EventEntry:
    """Something that happened, to a task or a machine."""

    id: int
    at: float
    what: str
    text: str
    task: UUID | None
    machine: UUID | None


class Store:
    """What a `change` has written when its block ends survives the death of the server.

    If starting fails, nothing is held. On stop the file is closed and another server may have it.
    Every method raises BookError if the file is damaged or gone, and a change DiskFullError; then
    it has written nothing. ``after`` is told what follows from each change, once it is kept.
    """

    def __init__(self, database: Database, *, clock: Clock) -> None:
        self.database = database
        self.clock = clock
        self.bells = Bells()
        self.keyring = Keyring(database, clock=clock)
        self.after: Callable[[Aftermath], None] = lambda _: None

    @classmethod
    @contextlib.asynccontextmanager
    async def at(cls, path: Path, *, clock: Clock) -> AsyncIterator[Store]:
        """Hold the store at ``path`` as its only server; made if need be, for its user only.

        Raises:
            BookError: another server holds it; it is damaged, or something else.
            BookTooNewError: a later tachikoma wrote it.
            HostError: the file cannot be made or opened.
        """
        async with opened(path, birth={"id": str(uuid4())}, scheme=SERVER) as database:
            yield cls(database, clock=clock)

    @contextlib.asynccontextmanager
    async def change(self) -> AsyncIterator[Change]:
        """Change tasks and machines: all that the block does, or nothing if it fails."""
        async with self.database.transaction() as connection:
            change = Change(connection, now=self.clock.now())
            yield change
        if change.after.happened:
            self.bells.ring((EVENTS,))
        self.bells.ring(change.after.printed)
        self.bells.ring(entry.id for _, entry in change.after.orders)
        self.after(change.after)

    # Looking

    async def entry(self, id_: UUID) -> Entry | None:
        """Give a task by its id or that of one of its attempts."""
        rows = await self.database.rows(
            f"SELECT {TASK_COLUMNS} FROM tasks WHERE id = ? OR id ="  # noqa: S608 - constant names
            " (SELECT task FROM attempts WHERE id = ?)",
            (str(id_), str(id_)),
        )
        return entry_from(rows[0]) if rows else None

    async def is_under(self, id_: UUID, top: UUID) -> bool:
        """Tell whether a task is ``top`` or somewhere below it."""
        rows = await self.database.rows(
            f"{_UNDER} SELECT 1 FROM under WHERE id = ?",  # noqa: S608 - constant
            (str(top), str(id_)),
        )
        return bool(rows)

    async def entries(self, query: TaskQuery, *, under: UUID | None) -> tuple[list[Entry], int]:
        """Give a page of the tasks that are asked for, the newest first, and how many there are in
        all; with ``under`` only of that task and what is below it.
        """
        where, values = _where(query, under)
        start = _UNDER if under is not None else ""
        ((total,),) = await self.database.rows(
            f"{start} SELECT COUNT(*) FROM tasks LEFT JOIN texts ON task = id"  # noqa: S608 - constants
            f" WHERE {where}",
            values,
        )
        rows = await self.database.rows(
            f"{start} SELECT {TASK_COLUMNS} FROM tasks LEFT JOIN texts ON task = id"  # noqa: S608 - constants
            f" WHERE {where} ORDER BY arrival DESC LIMIT ? OFFSET ?",
            (*values, query.limit, query.offset),
        )
        return [entry_from(row) for row in rows], total

    async def counts(self) -> dict[TaskStatus, int]:
        """Count the tasks that are not archived."""
        rows = await self.database.rows(
            "SELECT status, COUNT(*) FROM tasks WHERE NOT archived GROUP BY status"
        )
        found = dict.fromkeys(TaskStatus, 0)
        return found | {TaskStatus(status): count for status, count in rows}

    async def machines(self) -> list[MachineEntry]:
        """Give the machines that have been here."""
        rows = await self.database.rows(
            f"SELECT {MACHINE_COLUMNS} FROM machines ORDER BY first_seen, id"  # noqa: S608 - names
        )
        return [machine_from(row) for row in rows]

    async def load(self, machine: UUID, since: float) -> list[tuple[float, int, int]]:
        """Give when a machine had how much to do, of how much."""
        rows = await self.database.rows(
            "SELECT at, active, most FROM load WHERE machine = ? AND at >= ? ORDER BY at",
            (str(machine), since),
        )
        return [(at, active, most) for at, active, most in rows]

    async def active(self) -> dict[UUID, tuple[int, int]]:
        """Say for each machine how many tasks it has, and how many of them lead others."""
        rows = await self.database.rows(
            "SELECT machine, COUNT(*), SUM(orchestrator) FROM tasks WHERE out GROUP BY machine"
        )
        return {UUID(machine): (count, leading) for machine, count, leading in rows}

    # Events

    async def latest_event(self) -> int:
        """Give the id of the latest event, 0 before the first."""
        ((latest,),) = await self.database.rows("SELECT COALESCE(MAX(id), 0) FROM events")
        return int(latest)

    async def oldest_event(self) -> int:
        """Give the id of the oldest event that is kept, 0 if there is none."""
        ((oldest,),) = await self.database.rows("SELECT COALESCE(MIN(id), 0) FROM events")
        return int(oldest)

    async def events(
        self, after: int, *, limit: int, task: UUID | None = None, under: UUID | None = None
    ) -> list[EventEntry]:
        """Give the oldest events after ``after``: all, those of a task, or those of a task and
        everything below it.
        """
        start, where, values = "", "id > ?", [str(after)]
        if task is not None:
            where, values = f"task = ? AND {where}", [str(task), str(after)]
        if under is not None:
            start = _UNDER
            where, values = f"task IN under AND {where}", [str(under), str(after)]
        rows = await self.database.rows(
            f"{start} SELECT id, at, what, text, task, machine FROM events"  # noqa: S608 - constants
            f" WHERE {where} ORDER BY id LIMIT ?",
            (*values, limit),
        )
        return [_event(row) for row in rows]

    # Output

    async def account(self, entry: Entry) -> output.Account:
        """Say what is kept of a task's output."""
        return await output.account_of(self.database, entry.arrival)

    async def printed(self, entry: Entry, *, after: int, limit: int) -> list[output.Piece]:
        """Give the oldest pieces of a task's output after ``after``."""
        return await output.pieces(self.database, entry.arrival, after=after, limit=limit)

    async def before_last(self, entry: Entry, count: int) -> int:
        """Give the number after which there are the last ``count`` pieces."""
        return await output.before_last(self.database, entry.arrival, count)


@contextlib.asynccontextmanager
async def keyring_at(path: Path, *, clock: Clock) -> AsyncIterator[Keyring]:
    """Open the keys in the store at ``path``, whether a server holds it or not; made if need be.

    Raises:
        BookError: it is damaged, or something else.
        BookTooNewError: a later tachikoma wrote it.
        HostError: the file cannot be made or opened.
    """
    async with contextlib.AsyncExitStack() as stack:
        try:
            database = await stack.enter_async_context(
                opened(path, birth={"id": str(uuid4())}, scheme=SERVER)
            )
        except BookError:
            database = await stack.enter_async_context(joined(path, scheme=SERVER))
        yield Keyring(database, clock=clock)


def _where(query: TaskQuery, under: UUID | None) -> tuple[str, Sequence[object]]:
    parts: list[str] = ["archived = ?"]
    values: list[object] = [] if under is None else [str(under)]
    values.append(int(query.archived))
    if query.status:
        parts.append(f"status IN ({', '.join('?' * len(query.status))})")
        values += [status.value for status in query.status]
    if query.parent is not None:
        parts.append("parent = ?")
        values.append(str(query.parent))
    if query.begin:
        parts.append("substr(id, 1, ?) = ?")
        values += [len(query.begin), query.begin]
    if query.top:
        parts.append("parent IS NULL")
    if under is not None:
        parts.append("id IN under")
    if query.search:
        parts.append(
            "(instr(lower(name || char(10) || COALESCE(repo, '')), lower(?))"
            " OR instr(lower(plan), lower(?)))"
        )
        values += [query.search, query.search]
    return " AND ".join(parts), values


def _event(row: Sequence[Any]) -> EventEntry:
    id_, at, what, text, task, machine = row
    return EventEntry(
        id_,
        at,
        what,
        text,
        None if task is None else UUID(task),
        None if machine is None else UUID(machine),
    )
