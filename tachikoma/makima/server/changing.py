"""One transaction on the tasks: what changes, what happened, and what follows from it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID, uuid4

import aiosqlite

from tachikoma.makima.record import Figures, TaskStatus
from tachikoma.makima.server import keyring, output
from tachikoma.makima.server.course import (
    Assigned,
    DependencyFailed,
    DependencyRevived,
    Interrupted,
    Order,
    Standing,
    Word,
    Wrong,
    step,
)
from tachikoma.makima.server.entries import (
    ATTEMPT_COLUMNS,
    INSERT_TASK,
    MACHINE_COLUMNS,
    TASK_COLUMNS,
    UPDATE_TASK,
    AttemptEntry,
    Entry,
    MachineEntry,
    Places,
    Texts,
    attempt_from,
    entry_from,
    entry_row,
    figures_text,
    machine_from,
    sound,
)
from tachikoma.model.errors_fleet import RequestError

EVENTS_KEPT = 20_000
_BRANCH = "makima/task-"
_LONGEST_RESULT = 256 * 1024


@dataclass(slots=True)
class Aftermath:
    """What is to be done once it is committed."""

    orders: list[tuple[Order, Entry]] = field(default_factory=list)
    printed: set[UUID] = field(default_factory=set)
    happened: bool = False


class Change:
    """Reads and writes within one transaction at the time ``now``."""

    def __init__(self, connection: aiosqlite.Connection, *, now: float) -> None:
        self.now = now
        self.after = Aftermath()
        self._connection = connection

    # Tasks

    async def entry(self, id_: UUID) -> Entry | None:
        """Give a task by its id or that of one of its attempts."""
        rows = await self._rows(
            f"SELECT {TASK_COLUMNS} FROM tasks WHERE id = ? OR id ="  # noqa: S608 - constant names
            " (SELECT task FROM attempts WHERE id = ?)",
            (str(id_), str(id_)),
        )
        return entry_from(rows[0]) if rows else None

    async def add(self, entry: Entry, texts: Texts, dependencies: Sequence[UUID]) -> Entry:
        """Take up a new task."""
        row = entry_row(entry)
        async with self._connection.execute(INSERT_TASK, row) as done:
            assert done.lastrowid is not None
            made = replace(entry, arrival=done.lastrowid)
        await self._do(
            "INSERT INTO texts VALUES (?, ?, ?, ?, ?)",
            (
                str(entry.id),
                sound(texts.plan),
                texts.result,
                json.dumps(list(texts.copy_files)),
                texts.asked,
            ),
        )
        for place, needs in enumerate(dependencies):
            await self._do(
                "INSERT INTO dependencies VALUES (?, ?, ?)", (str(entry.id), place, str(needs))
            )
        return await self.put(made, "created", made.name)

    async def put(self, entry: Entry, what: str, text: str) -> Entry:
        """Keep a task as it is now, and what happened to it."""
        version = await self.happened(what, text, task=entry.id)
        kept = replace(entry, version=version)
        await self._do(UPDATE_TASK, (*entry_row(kept), str(kept.id)))
        return kept

    async def say(self, entry: Entry, word: Word, text: str = "") -> Entry:
        """Bring a task a step further, with all that follows from it.

        Raises:
            RequestError: the word makes no sense as it stands.
        """
        came = step(entry.standing, word)
        if isinstance(came, Wrong):
            raise RequestError(
                f"the task “{entry.name}” cannot do that: {came.reason}",
                status=409,
                reason="wrong_state",
                hint="look at its status first",
            )
        if came.standing == entry.standing and not came.orders:
            return entry
        kept = await self._moved(entry, came.standing, text)
        for order in came.orders:
            await self._follow(order, kept)
        return kept

    async def assign(self, entry: Entry, machine: MachineEntry) -> Entry:
        """Give a task to a daemon: a new attempt, by an id of its own unless it is the first."""
        came = step(entry.standing, Assigned())
        assert not isinstance(came, Wrong)
        first = came.standing.attempt == 1
        attempt = entry.id if first else uuid4()
        await self._do(
            "INSERT INTO attempts VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL)",
            (
                *(str(attempt), str(entry.id), came.standing.attempt, str(machine.id)),
                *(TaskStatus.PENDING.value, "", figures_text(Figures()), self.now),
            ),
        )
        given = replace(
            entry,
            standing=came.standing,
            machine=machine.id,
            current=attempt,
            branch=f"{_BRANCH}{attempt.hex[:8]}",
            ended=None,
        )
        return await self.put(given, "assigned", f"given to {machine.hostname}")

    async def _moved(self, entry: Entry, to: Standing, text: str) -> Entry:
        before = entry.standing
        started = entry.started
        if to.status is TaskStatus.RUNNING and started is None:
            started = self.now
        moved = replace(
            entry, standing=to, started=started, ended=self.now if to.status.ended else None
        )
        if (before.out and not to.out) or (before.lost and not to.lost and to.status.ended):
            await self._end_attempt(entry, to)
        elif to.out and entry.current is not None:
            await self._do(
                "UPDATE attempts SET status = ?, error = '', ended = NULL WHERE id = ?",
                (to.status.value, str(entry.current)),
            )
        what, told = "status", text or to.error or to.status.value
        if to.status is before.status:
            about = f"about to be {to.said}" if to.said is not None else told
            what, told = "changed", text or ("to be interrupted" if to.wanted else about)
        return await self.put(moved, what, told)

    async def _end_attempt(self, entry: Entry, to: Standing) -> None:
        status = to.status if to.status.ended else TaskStatus.FAILED
        await self._do(
            "UPDATE attempts SET status = ?, error = ?, ended = ? WHERE id = ?",
            (status.value, sound(to.error), self.now, str(entry.current)),
        )

    async def _follow(self, order: Order, entry: Entry) -> None:
        self.after.orders.append((order, entry))
        if order is Order.ENDED:
            await keyring.revoke_tool(self._connection, entry.id)
            if entry.orchestrator:
                await self._end_subtasks(entry)
            if entry.status is not TaskStatus.DONE:
                why = f"the task “{entry.name}” that it depends on {_went(entry.status)}"
                for each in await self._dependents(entry):
                    await self.say(each, DependencyFailed(why))
        elif order is Order.REVIVED:
            for each in await self._dependents(entry):
                await self.say(each, DependencyRevived())

    async def _end_subtasks(self, entry: Entry) -> None:
        """Nobody would merge them any more."""
        for each in await self.subtasks(entry.id):
            if not each.status.ended:
                await self.say(each, Interrupted("its orchestrator has ended"))

    async def _dependents(self, entry: Entry) -> list[Entry]:
        rows = await self._rows(
            f"SELECT {TASK_COLUMNS} FROM tasks JOIN dependencies ON task = id"  # noqa: S608 - names
            " WHERE needs = ? ORDER BY arrival",
            (str(entry.id),),
        )
        return [entry_from(row) for row in rows]

    async def subtasks(self, id_: UUID) -> list[Entry]:
        """Give the subtasks of a task by arrival."""
        rows = await self._rows(
            f"SELECT {TASK_COLUMNS} FROM tasks WHERE parent = ? ORDER BY arrival",  # noqa: S608 - names
            (str(id_),),
        )
        return [entry_from(row) for row in rows]

    async def ready(self) -> list[Entry]:
        """Give the tasks that could begin, by arrival."""
        rows = await self._rows(
            f"SELECT {TASK_COLUMNS} FROM tasks WHERE status = 'pending' AND NOT out"  # noqa: S608 - names
            " AND NOT EXISTS (SELECT 1 FROM dependencies JOIN tasks AS need ON need.id = needs"
            " WHERE task = tasks.id AND need.status != 'done') ORDER BY arrival",
        )
        return [entry_from(row) for row in rows]

    async def out(self, machine: UUID | None = None) -> list[Entry]:
        """Give the tasks that a daemon has, or that any has."""
        which, values = ("machine = ?", (str(machine),)) if machine else ("1", ())
        rows = await self._rows(
            f"SELECT {TASK_COLUMNS} FROM tasks WHERE out AND {which} ORDER BY arrival",  # noqa: S608 - constant
            values,
        )
        return [entry_from(row) for row in rows]

    async def texts(self, id_: UUID) -> Texts:
        """Give the long texts of a task."""
        ((plan, result, files, asked),) = await self._rows(
            "SELECT plan, result, copy_files, asked FROM texts WHERE task = ?", (str(id_),)
        )
        return Texts(plan, result, tuple(json.loads(files)), asked)

    async def attempt(self, id_: UUID) -> AttemptEntry | None:
        """Give an attempt by its id."""
        rows = await self._rows(
            f"SELECT {ATTEMPT_COLUMNS} FROM attempts WHERE id = ?",  # noqa: S608 - constant names
            (str(id_),),
        )
        return attempt_from(rows[0]) if rows else None

    async def attempts(self, task: UUID) -> list[AttemptEntry]:
        """Give the attempts at a task, the first one first."""
        rows = await self._rows(
            f"SELECT {ATTEMPT_COLUMNS} FROM attempts WHERE task = ? ORDER BY number",  # noqa: S608 - names
            (str(task),),
        )
        return [attempt_from(row) for row in rows]

    # What agents do

    async def print(self, entry: Entry, printed: Sequence[output.Printed]) -> None:
        """Keep what an agent printed."""
        await output.append(self._connection, entry.arrival, printed)
        self.after.printed.add(entry.id)

    async def account(self, entry: Entry, attempt: UUID, figures: Figures, result: str) -> Entry:
        """Keep what an attempt took so far, and what its agent said at the end of a turn."""
        await self._do(
            "UPDATE attempts SET figures = ? WHERE id = ?", (figures_text(figures), str(attempt))
        )
        await self._do(
            "UPDATE texts SET result = ? WHERE task = ?",
            (sound(result[:_LONGEST_RESULT]), str(entry.id)),
        )
        each = [one.figures for one in await self.attempts(entry.id)]
        total = Figures(*(sum(getattr(one, name) for one in each) for name in Figures.__slots__))
        return await self.put(replace(entry, figures=total), "turn", "a turn has ended")

    async def tool_key(self, task: UUID, secret: str | None) -> None:
        """Make the key of a task's orchestrator known, or (None) take it back."""
        if secret is None:
            await keyring.revoke_tool(self._connection, task)
        else:
            await keyring.register_tool(self._connection, task, secret, self.now)

    # Machines

    async def machine(self, id_: UUID) -> MachineEntry | None:
        """Give a machine."""
        rows = await self._rows(
            f"SELECT {MACHINE_COLUMNS} FROM machines WHERE id = ?",  # noqa: S608 - constant names
            (str(id_),),
        )
        return machine_from(rows[0]) if rows else None

    async def welcome(self, machine: str, hostname: str, most: int) -> MachineEntry:
        """Note that a daemon is let in; a machine keeps its id."""
        await self._do(
            "INSERT INTO machines VALUES (?, ?, ?, ?, 0, NULL, ?, ?, ?) ON CONFLICT (machine)"
            " DO UPDATE SET hostname = excluded.hostname, most = excluded.most,"
            " connected = excluded.connected, heartbeat = excluded.heartbeat",
            (str(uuid4()), machine, hostname, most, self.now, self.now, self.now),
        )
        ((id_,),) = await self._rows("SELECT id FROM machines WHERE machine = ?", (machine,))
        found = await self.machine(UUID(id_))
        assert found is not None
        return found

    async def heard_up_to(self, machine: UUID, seq: int) -> None:
        """Note the number of the last message of a machine that is kept."""
        await self._do("UPDATE machines SET seq = MAX(seq, ?) WHERE id = ?", (seq, str(machine)))

    async def heartbeat(self, machine: UUID, *, active: int, most: int, keep_s: float) -> None:
        """Note that a daemon lives, and its load; what is older than ``keep_s`` is forgotten."""
        await self._do("UPDATE machines SET heartbeat = ? WHERE id = ?", (self.now, str(machine)))
        await self._do(
            "INSERT OR REPLACE INTO load VALUES (?, ?, ?, ?)",
            (str(machine), self.now, active, most),
        )
        await self._do(
            "DELETE FROM load WHERE machine = ? AND at < ?", (str(machine), self.now - keep_s)
        )

    async def places(self, machine: UUID, places: Places) -> None:
        """Note where a daemon keeps things."""
        told = json.dumps([places.working, places.home, places.worktrees])
        await self._do("UPDATE machines SET directories = ? WHERE id = ?", (told, str(machine)))

    # Events

    async def happened(
        self, what: str, text: str, *, task: UUID | None = None, machine: UUID | None = None
    ) -> int:
        """Note that something happened; give the event's id. Old events go after a while."""
        values = (
            *(self.now, what, sound(text)),
            *(None if each is None else str(each) for each in (task, machine)),
        )
        async with self._connection.execute(
            "INSERT INTO events (at, what, text, task, machine) VALUES (?, ?, ?, ?, ?)", values
        ) as done:
            assert done.lastrowid is not None
            number = done.lastrowid
        if number % 256 == 0:
            await self._do("DELETE FROM events WHERE id <= ?", (number - EVENTS_KEPT,))
        self.after.happened = True
        return number

    # Rows

    async def _rows(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await self._connection.execute_fetchall(query, values)]

    async def _do(self, statement: str, values: Sequence[object]) -> None:
        await self._connection.execute(statement, values)


def _went(status: TaskStatus) -> str:
    return "was interrupted" if status is TaskStatus.INTERRUPTED else "failed"
