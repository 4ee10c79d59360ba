"""How the store's values look to those who ask."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from tachikoma.makima.record import TaskStatus
from tachikoma.makima.server import shapes
from tachikoma.makima.server.entries import (
    ATTEMPT_COLUMNS,
    AttemptEntry,
    Entry,
    MachineEntry,
    attempt_from,
)
from tachikoma.makima.server.output import Account, Piece
from tachikoma.makima.server.shapes import moment, moment_or_none
from tachikoma.makima.server.store import Store


@dataclass(frozen=True, slots=True)
class Around:
    """What stands around tasks: what they need, how many of that are not done, how many subtasks
    they have, the machines, and which of those are here.
    """

    needs: Mapping[UUID, tuple[UUID, ...]]
    undone: Mapping[UUID, int]
    subtasks: Mapping[UUID, int]
    hosts: Mapping[UUID, str]
    here: frozenset[UUID]


def task_row(entry: Entry, around: Around) -> shapes.TaskRow:
    """Show a task as lists have it."""
    return shapes.TaskRow(**_fields(entry, around))


def task(
    entry: Entry,
    around: Around,
    *,
    texts: tuple[str, str, Sequence[str]],
    attempts: Sequence[AttemptEntry],
    account: Account,
) -> shapes.Task:
    """Show a task with everything; ``texts`` are its plan, its result and the files to copy."""
    plan, result, files = texts
    return shapes.Task(
        **_fields(entry, around),
        plan=plan,
        result=result,
        copy_files=tuple(files),
        attempts=tuple(_attempt(each, around) for each in attempts),
        output_bytes=account.bytes,
        output_dropped_bytes=account.dropped,
    )


def _fields(entry: Entry, around: Around) -> dict[str, Any]:
    outcome = entry.outcome
    return {
        "id": entry.id,
        "name": entry.name,
        "status": entry.status,
        "attention": attention(entry, around),
        "waits_for": waits_for(entry, around),
        "parent": entry.parent,
        "depth": entry.depth,
        "orchestrator": entry.orchestrator,
        "subtasks": around.subtasks.get(entry.id, 0),
        "dependencies": around.needs.get(entry.id, ()),
        "priority": entry.priority,
        "repo": entry.repo,
        "base_branch": entry.base_branch,
        "target_branch": entry.target_branch,
        "target_repo": entry.target_repo,
        "action": entry.action,
        "action_outcome": None
        if outcome.success is None
        else shapes.ActionOutcome(
            success=outcome.success, message=outcome.message, pr_url=outcome.pr_url
        ),
        "branch": entry.branch,
        "daemon": _daemon_name(entry.machine, around),
        "attempt": entry.standing.attempt,
        "max_attempts": entry.standing.max_attempts,
        "archived": entry.archived,
        "summary": entry.summary,
        "error": entry.standing.error,
        "figures": shapes.Figures(**asdict(entry.figures)),
        "created_at": moment(entry.created),
        "started_at": moment_or_none(entry.started),
        "ended_at": moment_or_none(entry.ended),
        "version": entry.version,
    }


def attention(entry: Entry, around: Around) -> str:
    """Say what a task waits for a person for; "" if it does not."""
    if entry.status is TaskStatus.PAUSED:
        return "it is held until somebody resumes it"
    if entry.status is TaskStatus.DONE and entry.outcome.success is False:
        return "its work is done, and could not be delivered: run the action again"
    if entry.standing.out and entry.machine not in around.here:
        return f"its daemon {around.hosts.get(entry.machine or entry.id, '')} is away"
    return ""


def waits_for(entry: Entry, around: Around) -> str:
    """Say why a pending task has not begun; "" for all others."""
    if entry.status is not TaskStatus.PENDING:
        return ""
    if entry.standing.out:
        return "its daemon, which has other tasks before it"
    if undone := around.undone.get(entry.id, 0):
        return "a task that is not done yet" if undone == 1 else f"{undone} tasks not done yet"
    return "a daemon with room for it" if around.here else "a daemon: none is connected"


def _attempt(entry: AttemptEntry, around: Around) -> shapes.Attempt:
    return shapes.Attempt(
        id=entry.id,
        number=entry.number,
        daemon=_daemon_name(entry.machine, around),
        status=entry.status,
        error=entry.error,
        created_at=moment(entry.created),
        ended_at=moment_or_none(entry.ended),
    )


def _daemon_name(machine: UUID | None, around: Around) -> shapes.DaemonName | None:
    if machine is None:
        return None
    return shapes.DaemonName(id=machine, hostname=around.hosts.get(machine, ""))


def chunk(piece: Piece) -> shapes.OutputChunk:
    """Show a piece of an output."""
    return shapes.OutputChunk(
        number=piece.number,
        at=moment(piece.at),
        attempt=piece.attempt,
        text=piece.text,
        partial=piece.partial,
    )


def daemon(entry: MachineEntry, *, here: bool, active: int) -> shapes.Daemon:
    """Show a daemon."""
    places = entry.places
    return shapes.Daemon(
        id=entry.id,
        hostname=entry.hostname,
        connected=here,
        relay=entry.most <= 0,
        max_concurrent_tasks=max(entry.most, 0),
        active_tasks=active,
        directories=None
        if places is None
        else shapes.Directories(
            working=places.working, home=places.home, worktrees=places.worktrees
        ),
        first_seen_at=moment(entry.first_seen),
        connected_at=moment_or_none(entry.connected if here else None),
        last_heartbeat_at=moment_or_none(entry.heartbeat),
    )


class Views:
    """Shows what is in ``store``; ``here`` gives the machines that are connected now."""

    def __init__(self, store: Store, here: Mapping[UUID, object]) -> None:
        self._store = store
        self._here = here

    async def rows(self, entries: Sequence[Entry]) -> tuple[shapes.TaskRow, ...]:
        """Show tasks as lists have them."""
        around = await self._around(entries)
        return tuple(task_row(each, around) for each in entries)

    async def row(self, entry: Entry) -> shapes.TaskRow:
        """Show a task as lists have it."""
        (row,) = await self.rows([entry])
        return row

    async def whole(self, entry: Entry) -> shapes.Task:
        """Show a task with everything."""
        rows = self._store.database.rows
        ((plan, result, files),) = await rows(
            "SELECT plan, result, copy_files FROM texts WHERE task = ?", (str(entry.id),)
        )
        attempts = await rows(
            f"SELECT {ATTEMPT_COLUMNS} FROM attempts WHERE task = ? ORDER BY number",  # noqa: S608 - names
            (str(entry.id),),
        )
        return task(
            entry,
            await self._around([entry]),
            texts=(plan, result, files_of(files)),
            attempts=[attempt_from(each) for each in attempts],
            account=await self._store.account(entry),
        )

    async def daemons(self) -> tuple[shapes.Daemon, ...]:
        """Show the daemons, those that are here first."""
        active = await self._store.active()
        found = [
            daemon(each, here=each.id in self._here, active=active.get(each.id, (0, 0))[0])
            for each in await self._store.machines()
        ]
        return tuple(sorted(found, key=lambda each: (not each.connected, each.hostname)))

    async def _around(self, entries: Sequence[Entry]) -> Around:
        ids = [str(each.id) for each in entries]
        marks = ", ".join("?" * len(ids))
        rows = self._store.database.rows
        needs = await rows(
            "SELECT task, needs, status != 'done' FROM dependencies JOIN tasks ON id = needs"  # noqa: S608 - marks
            f" WHERE task IN ({marks}) ORDER BY task, place",
            ids,
        )
        subtasks = await rows(
            f"SELECT parent, COUNT(*) FROM tasks WHERE parent IN ({marks}) GROUP BY parent",  # noqa: S608 - marks
            ids,
        )
        return Around(
            needs=_gathered((UUID(of), UUID(need)) for of, need, _ in needs),
            undone=_counted(UUID(of) for of, _, undone in needs if undone),
            subtasks={UUID(of): count for of, count in subtasks},
            hosts={each.id: each.hostname for each in await self._store.machines()},
            here=frozenset(self._here),
        )


def files_of(text: str) -> tuple[str, ...]:
    """Read a list of files as the store has it."""
    return tuple(str(each) for each in json.loads(text))


def _gathered(pairs: Iterable[tuple[UUID, UUID]]) -> dict[UUID, tuple[UUID, ...]]:
    found: dict[UUID, tuple[UUID, ...]] = {}
    for of, need in pairs:
        found[of] = (*found.get(of, ()), need)
    return found


def _counted(ids: Iterable[UUID]) -> dict[UUID, int]:
    found: dict[UUID, int] = {}
    for each in ids:
        found[each] = found.get(each, 0) + 1
    return found
