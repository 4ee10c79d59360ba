"""What the daemon knows of its tasks: frozen values that the book keeps (pure)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from uuid import UUID

from tachikoma.makima.commands import SpawnTask


class TaskStatus(StrEnum):
    """How far a task has come; these words go over the wire."""

    PENDING = "pending"
    INITIALIZING = "initializing"
    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"
    FAILED = "failed"
    INTERRUPTED = "interrupted"

    @property
    def ended(self) -> bool:
        """Whether nothing more happens to the task by itself."""
        return self in {TaskStatus.DONE, TaskStatus.FAILED, TaskStatus.INTERRUPTED}


class Isolation(StrEnum):
    """Where a task's agent works: in a virtual machine, or on this host in the bare worktree."""

    VM = "vm"
    WORKTREE = "worktree"


@dataclass(frozen=True, slots=True)
class Position:
    """How many bytes of each of an agent's outputs have been taken down."""

    stdout: int = 0
    stderr: int = 0


@dataclass(frozen=True, slots=True)
class Figures:
    """What a task's agent took so far, as it says itself; ``cost_usd`` in dollars."""

    turns: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_creation_tokens: int = 0
    cost_usd: float = 0.0


@dataclass(frozen=True, slots=True)
class Workspace:
    """Where a task works on the host: ``branch`` checked out at ``worktree``, a linked worktree of
    the bare clone ``repository`` (absolute paths). ``base`` is the commit that it started from.
    """

    repository: Path
    worktree: Path
    branch: str
    base: str


@dataclass(frozen=True, slots=True)
class Skip:
    """A subtask that its orchestrator left out on purpose."""

    subtask: UUID
    reason: str


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """One task as kept in the book. Times are seconds since the epoch, None for not yet.

    ``arrival`` orders the queue. ``workspace``, ``isolation`` and ``session`` (the id of the
    agent's conversation) are None until they are decided. ``position`` is how much of the agent's
    output has been taken down, always at the end of a piece that was said. ``error`` tells why a
    task failed.
    """

    order: SpawnTask
    arrival: int
    status: TaskStatus
    created: float
    started: float | None = None
    ended: float | None = None
    isolation: Isolation | None = None
    workspace: Workspace | None = None
    session: UUID | None = None
    position: Position = Position()
    figures: Figures = Figures()
    summary: str = ""
    error: str = ""
    skips: tuple[Skip, ...] = field(default=())

    @property
    def id(self) -> UUID:
        """The task's id."""
        return self.order.task_id
