"""What the store keeps of tasks, attempts and machines: frozen values, and their rows (pure)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field
from typing import Any
from uuid import UUID

from tachikoma.makima.record import Figures, TaskStatus
from tachikoma.makima.server.course import Standing
from tachikoma.makima.server.shapes import Action


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of the completion action; ``success`` None: there was none yet."""

    success: bool | None = None
    message: str = ""
    pr_url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A task. Times are seconds since the epoch.

    ``machine`` is the daemon of the latest attempt, and ``current`` that attempt's id, by which the
    daemon knows it. ``fresh`` says that the next attempt is not to go on from the last.
    """

    id: UUID
    arrival: int = 0
    standing: Standing = field(default_factory=Standing)
    name: str
    parent: UUID | None = None
    depth: int = 0
    orchestrator: bool = False
    priority: int = 0
    repo: str | None = None
    base_branch: str | None = None
    target_branch: str | None = None
    target_repo: str | None = None
    action: Action = Action.NONE
    continue_from: UUID | None = None
    fresh: bool = False
    machine: UUID | None = None
    current: UUID | None = None
    branch: str | None = None
    outcome: Outcome = field(default_factory=Outcome)
    archived: bool = False
    summary: str = ""
    figures: Figures = field(default_factory=Figures)
    created: float
    started: float | None = None
    ended: float | None = None
    version: int = 0

    @property
    def status(self) -> TaskStatus:
        """How far it has come."""
        return self.standing.status


@dataclass(frozen=True, slots=True)
class Texts:
    """The long texts of a task. ``asked`` is the request that made it, as it came."""

    plan: str
    result: str = ""
    copy_files: tuple[str, ...] = ()
    asked: str = ""


@dataclass(frozen=True, slots=True)
class AttemptEntry:
    """One attempt at a task."""

    id: UUID
    task: UUID
    number: int
    machine: UUID
    status: TaskStatus
    error: str
    figures: Figures
    created: float
    ended: float | None


@dataclass(frozen=True, slots=True)
class Places:
    """Where a daemon keeps things."""

    working: str
    home: str
    worktrees: str


@dataclass(frozen=True, slots=True)
class MachineEntry:
    """A daemon that has been here; ``seq`` is the number of the last message kept of it."""

    id: UUID
    machine: str
    hostname: str
    most: int
    seq: int
    places: Places | None
    first_seen: float
    connected: float | None
    heartbeat: float | None


_TASK = (
    *("id", "status", "attempt", "max_attempts", "out", "said", "wanted", "by_dependency", "lost"),
    *("error", "name", "parent", "depth", "orchestrator", "priority", "repo", "base_branch"),
    *("target_branch", "target_repo", "action", "continue_from", "fresh", "machine", "current"),
    *("branch", "outcome_success", "outcome_message", "outcome_pr", "archived", "summary"),
    *("turns", "input_tokens", "output_tokens", "cache_read_tokens", "cache_creation_tokens"),
    *("cost_usd", "created", "started", "ended", "version"),
)
TASK_COLUMNS = ", ".join(f"tasks.{name}" for name in ("arrival", *_TASK))
"""What `entry_from` reads."""
INSERT_TASK = f"INSERT INTO tasks ({', '.join(_TASK)}) VALUES ({', '.join('?' * len(_TASK))})"  # noqa: S608 - constant names
UPDATE_TASK = f"UPDATE tasks SET {', '.join(f'{name} = ?' for name in _TASK)} WHERE id = ?"  # noqa: S608 - constant names
ATTEMPT_COLUMNS = "id, task, number, machine, status, error, figures, created, ended"
MACHINE_COLUMNS = "id, machine, hostname, most, seq, directories, first_seen, connected, heartbeat"


def entry_row(entry: Entry) -> tuple[object, ...]:
    """Give the values of all columns but ``arrival``."""
    at = entry.standing
    return (
        str(entry.id),
        *(at.status.value, at.attempt, at.max_attempts, int(at.out), _value(at.said)),
        *(int(at.wanted), int(at.by_dependency), int(at.lost), sound(at.error)),
        *(sound(entry.name), _text(entry.parent), entry.depth, int(entry.orchestrator)),
        *(entry.priority, entry.repo, entry.base_branch, entry.target_branch, entry.target_repo),
        *(entry.action.value, _text(entry.continue_from), int(entry.fresh)),
        *(_text(entry.machine), _text(entry.current), entry.branch),
        None if entry.outcome.success is None else int(entry.outcome.success),
        *(sound(entry.outcome.message), entry.outcome.pr_url),
        *(int(entry.archived), sound(entry.summary), *astuple(entry.figures)),
        *(entry.created, entry.started, entry.ended, entry.version),
    )


def entry_from(row: Sequence[Any]) -> Entry:
    """Read a row of `TASK_COLUMNS`."""
    at = dict(zip(("arrival", *_TASK), row, strict=True))
    return Entry(
        id=UUID(at["id"]),
        arrival=at["arrival"],
        standing=_standing(at),
        name=at["name"],
        parent=_id(at["parent"]),
        depth=at["depth"],
        orchestrator=bool(at["orchestrator"]),
        priority=at["priority"],
        repo=at["repo"],
        base_branch=at["base_branch"],
        target_branch=at["target_branch"],
        target_repo=at["target_repo"],
        action=Action(at["action"]),
        continue_from=_id(at["continue_from"]),
        fresh=bool(at["fresh"]),
        machine=_id(at["machine"]),
        current=_id(at["current"]),
        branch=at["branch"],
        outcome=Outcome(
            success=None if at["outcome_success"] is None else bool(at["outcome_success"]),
            message=at["outcome_message"],
            pr_url=at["outcome_pr"],
        ),
        archived=bool(at["archived"]),
        summary=at["summary"],
        figures=Figures(*(at[name] for name in Figures.__slots__)),
        created=at["created"],
        started=at["started"],
        ended=at["ended"],
        version=at["version"],
    )


def _standing(at: Mapping[str, Any]) -> Standing:
    return Standing(
        status=TaskStatus(at["status"]),
        attempt=at["attempt"],
        max_attempts=at["max_attempts"],
        out=bool(at["out"]),
        said=None if at["said"] is None else TaskStatus(at["said"]),
        wanted=bool(at["wanted"]),
        by_dependency=bool(at["by_dependency"]),
        lost=bool(at["lost"]),
        error=at["error"],
    )


def attempt_from(row: Sequence[Any]) -> AttemptEntry:
    """Read a row of `ATTEMPT_COLUMNS`."""
    id_, task, number, machine, status, error, figures, created, ended = row
    return AttemptEntry(
        *(UUID(id_), UUID(task), number, UUID(machine), TaskStatus(status), error),
        Figures(*json.loads(figures)),
        created,
        ended,
    )


def action_of(entry: Entry) -> str | None:
    """Give the completion action as daemons are told it."""
    return None if entry.action is Action.NONE else entry.action.value


def figures_text(figures: Figures) -> str:
    """Write figures as they stand in a row of an attempt."""
    return json.dumps(astuple(figures))


def machine_from(row: Sequence[Any]) -> MachineEntry:
    """Read a row of `MACHINE_COLUMNS`."""
    id_, machine, hostname, most, seq, places, first_seen, connected, heartbeat = row
    return MachineEntry(
        *(UUID(id_), machine, hostname, most, seq),
        None if places is None else Places(*json.loads(places)),
        first_seen,
        connected,
        heartbeat,
    )


def sound(text: str) -> str:
    """Halves of surrogate pairs cannot be stored: each becomes a question mark."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _value(status: TaskStatus | None) -> str | None:
    return None if status is None else status.value


def _text(id_: UUID | None) -> str | None:
    return None if id_ is None else str(id_)


def _id(text: str | None) -> UUID | None:
    return None if text is None else UUID(text)
