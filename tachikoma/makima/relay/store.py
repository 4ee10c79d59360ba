"""The relay's state in one SQLite file: tasks, machines, commands under way, events, the outbox."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import aiosqlite

from tachikoma.host.clock import Clock
from tachikoma.makima.database import Database, opened
from tachikoma.makima.outbox import Outbox
from tachikoma.makima.relay.entries import Batch, Entry, Event, Known, MachineRow, Status
from tachikoma.makima.relay.tables import RELAY
from tachikoma.model.errors_fleet import BookError

MOST_BYTES = 512 * 1024 * 1024
"""How much the relay keeps for an upstream that is away before daemons have to wait."""
MOST_EVENTS = 200
FORGOTTEN_AFTER_S = 30 * 24 * 3600.0
"""A machine that was not seen for so long, and holds nothing, is another one when it comes back."""
BATCH_BYTES = 256 * 1024
_LOOKED_THROUGH = 512

_ENTRY = (
    "arrival, id, name, status, machine, said, received, dispatched, ended, error, given_up, "
    "waiting"
)
_WRITE_TASK = (
    f"INSERT INTO tasks ({_ENTRY}) VALUES ({', '.join('?' * 12)}) "  # noqa: S608 - constant names
    "ON CONFLICT (arrival) DO UPDATE SET status = excluded.status, machine = excluded.machine, "
    "said = excluded.said, dispatched = excluded.dispatched, ended = excluded.ended, "
    "error = excluded.error, given_up = excluded.given_up, waiting = excluded.waiting"
)
_WRITE_MACHINE = "INSERT OR REPLACE INTO machines VALUES (?, ?, ?, ?, ?)"
_MOVE = (
    "INSERT INTO commands SELECT ?, ? - 1 + ROW_NUMBER() OVER (ORDER BY id), task, text "
    "FROM waiting WHERE task = ?"
)
_TRIM = "DELETE FROM events WHERE id <= (SELECT MAX(id) FROM events) - ?"


class Store:
    """Held by one relay at a time. What `write` has written when it returns survives the death of
    the relay.

    If starting fails, nothing is held. Keys of orchestrators' tools stand in the outbox until the
    server has them; what is deleted is overwritten. Every method raises BookError if the file is
    damaged or gone.
    """

    def __init__(self, database: Database, *, machine_id: str, outbox: Outbox) -> None:
        self.machine_id = machine_id
        """Made with the file: who deletes it is another relay to the server."""
        self.outbox = outbox
        self._database = database

    @classmethod
    @contextlib.asynccontextmanager
    async def at(
        cls, path: Path, *, clock: Clock, most_bytes: int = MOST_BYTES
    ) -> AsyncIterator[Store]:
        """Hold the database at ``path``; made if need be, for its user only.

        Raises:
            BookError: another relay holds it; it is damaged, or something else.
            BookTooNewError: a later tachikoma wrote it.
            HostError: the file cannot be made or opened.
        """
        birth = {"machine_id": str(uuid.uuid4())}
        async with opened(path, birth=birth, scheme=RELAY) as database:
            async with database.transaction() as connection:
                await _tidied(connection, clock.now())
            ((newest,),) = await database.rows(
                "SELECT seq FROM sqlite_sequence WHERE name = 'outbox'"
            )
            named = dict(await database.rows("SELECT name, value FROM book"))
            if "machine_id" not in named:
                raise BookError(
                    f"the makima relay's database {path} is damaged: its id is missing",
                    hint="move it away and start the relay anew, or restore it from a backup",
                )
            yield cls(
                database,
                machine_id=named["machine_id"],
                outbox=Outbox(database, newest=newest, most_bytes=most_bytes),
            )

    async def known(self) -> Known:
        """Give what a relay before this one left."""
        rows = self._database.rows
        tasks = await rows(f"SELECT {_ENTRY} FROM tasks ORDER BY arrival")  # noqa: S608 - constant names
        machines = await rows("SELECT id, daemon, hostname, last_seq, seen FROM machines")
        commands = await rows("SELECT id, machine, task FROM commands ORDER BY id")
        return Known(
            tasks=tuple(map(_entry, tasks)),
            machines=tuple(MachineRow(id_, UUID(daemon), *rest) for id_, daemon, *rest in machines),
            addressed=tuple((id_, machine, UUID(task)) for id_, machine, task in commands),
            newest_command=int(await self.value("newest_command") or 0),
            processed=int(await self.value("processed") or 0),
        )

    async def value(self, name: str) -> str | None:
        """Give a value of the relay's own."""
        found = await self._database.rows("SELECT value FROM book WHERE name = ?", (name,))
        return str(found[0][0]) if found else None

    async def write(self, batch: Batch) -> None:
        """Write all of ``batch``, or nothing.

        Raises:
            DiskFullError: no space is left.
        """
        along = [each for each in _statements(batch) if each[1]]
        await self.outbox.say(batch.says, along=along)

    async def write_back(self) -> None:
        """Keep the WAL short, beside all else; to be called each second or so."""
        await self._database.write_back()

    async def commands(self, machine: str, *, after: int) -> list[tuple[int, str]]:
        """Give the next commands for a machine, with their ids: not much above `BATCH_BYTES`."""
        found = await self._database.rows(
            "SELECT id, text FROM ("
            " SELECT id, text, SUM(LENGTH(text)) OVER (ORDER BY id) - LENGTH(text) AS before"
            " FROM (SELECT id, text FROM commands WHERE machine = ? AND id > ? ORDER BY id LIMIT ?)"
            ") WHERE before < ?",
            (machine, after, _LOOKED_THROUGH, BATCH_BYTES),
        )
        return [(id_, text) for id_, text in found]

    async def tasks(self, *, limit: int, offset: int) -> tuple[list[Entry], int]:
        """Give a page of the history, the newest first, and how many tasks there are in all."""
        found = await self._database.rows(
            f"SELECT {_ENTRY} FROM tasks ORDER BY arrival DESC LIMIT ? OFFSET ?",  # noqa: S608 - constant names
            (limit, offset),
        )
        ((total,),) = await self._database.rows("SELECT COUNT(*) FROM tasks")
        return list(map(_entry, found)), total

    async def events(self, *, limit: int) -> list[Event]:
        """Give the newest events, the newest first."""
        found = await self._database.rows(
            "SELECT at, kind, text FROM events ORDER BY id DESC LIMIT ?", (limit,)
        )
        return [Event(*row) for row in found]

    async def unsent(self) -> tuple[int, int]:
        """Give how many messages wait for the server, and their bytes."""
        ((count, size),) = await self._database.rows(
            "SELECT COUNT(*), COALESCE(SUM(size), 0) FROM outbox"
        )
        return count, size


async def _tidied(connection: aiosqlite.Connection, now: float) -> None:
    await connection.execute("PRAGMA secure_delete = ON")
    await connection.execute(
        "DELETE FROM machines WHERE seen < ? AND id NOT IN "
        "(SELECT machine FROM tasks WHERE machine IS NOT NULL)",
        (now - FORGOTTEN_AFTER_S,),
    )


def _statements(batch: Batch) -> Iterable[tuple[str, Sequence[Sequence[object]]]]:
    yield (
        "INSERT INTO waiting (task, text) VALUES (?, ?)",
        [(str(task), text) for task, text in batch.waiting],
    )
    yield _MOVE, [(each.machine, each.first_id, str(each.task)) for each in batch.moved]
    yield (
        "DELETE FROM waiting WHERE task = ?",
        [(str(task),) for task in (*(each.task for each in batch.moved), *batch.dropped)],
    )
    yield (
        "INSERT INTO commands VALUES (?, ?, ?, ?)",
        [(each.machine, each.id, str(each.task), each.text) for each in batch.addressed],
    )
    yield "DELETE FROM commands WHERE machine = ? AND id <= ?", list(batch.delivered.items())
    yield _WRITE_TASK, [_row(each) for each in batch.tasks.values()]
    yield "DELETE FROM tasks WHERE id = ?", [(str(task),) for task in batch.forgotten]
    yield (
        _WRITE_MACHINE,
        [
            (each.id, str(each.daemon_id), _sound(each.hostname), each.last_seq, each.seen)
            for each in batch.machines.values()
        ],
    )
    yield (
        "INSERT INTO events (at, kind, text) VALUES (?, ?, ?)",
        [(each.at, each.kind, _sound(each.text)) for each in batch.events[-MOST_EVENTS:]],
    )
    yield _TRIM, [(MOST_EVENTS,)] if batch.events else []
    yield "INSERT OR REPLACE INTO book VALUES (?, ?)", list(batch.state.items())


def _row(entry: Entry) -> tuple[object, ...]:
    return (
        entry.arrival,
        str(entry.id),
        _sound(entry.name),
        entry.status.value,
        entry.machine,
        _sound(entry.said),
        entry.received,
        entry.dispatched,
        entry.ended,
        _sound(entry.error),
        int(entry.given_up),
        entry.waiting,
    )


def _entry(row: Sequence[Any]) -> Entry:
    arrival, id_, name, status, machine, said, received, dispatched, ended, error, *rest = row
    given_up, waiting = rest
    return Entry(
        id=UUID(id_),
        arrival=arrival,
        name=name,
        received=received,
        status=Status(status),
        machine=machine,
        dispatched=dispatched,
        ended=ended,
        said=said,
        error=error,
        given_up=bool(given_up),
        waiting=waiting,
    )


def _sound(text: str) -> str:
    """Halves of surrogate pairs cannot be stored: each becomes a question mark."""
    return text.encode("utf-8", "replace").decode("utf-8")
