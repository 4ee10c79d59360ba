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
class Verdict:
    """How a task ends, and why; ``error`` is "" where all went well."""

    status: TaskStatus
    error: str = ""


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """One task as kept in the book. Times are seconds since the epoch, None for not yet.

    ``arrival`` orders the queue. ``isolation`` and ``workspace`` are None until they are known,
    ``session`` (the id of the agent's conversation) is "". ``position`` is how much of the agent's
    output has been taken down, always at the end of a piece that was said. ``result`` is what the
    agent's last turn complained of: None before the first has ended, "" for a good one.

    ``verdict`` is set as soon as it is known how the task is to end (somebody interrupts it), and
    ``agent_over`` once its agent is known to be gone; what is left then is tidying up.
    ``paused_at`` is when the present pause began, ``paused_s`` how long the earlier ones were.
    """

    order: SpawnTask
    arrival: int
    status: TaskStatus
    created: float
    started: float | None = None
    ended: float | None = None
    isolation: Isolation | None = None
    workspace: Workspace | None = None
    session: str = ""
    position: Position = Position()
    figures: Figures = Figures()
    summary: str = ""
    result: str | None = None
    verdict: Verdict | None = None
    agent_over: bool = False
    paused_at: float | None = None
    paused_s: float = 0.0
    tool_key: str = field(default="", repr=False)
    skips: tuple[Skip, ...] = ()

    @property
    def id(self) -> UUID:
        """The task's id."""
        return self.order.task_id

    @property
    def error(self) -> str:
        """Why it failed, if it did."""
        return self.verdict.error if self.verdict else ""

    def worked_s(self, now: float) -> float:
        """Give for how many seconds its agent has worked, pauses not counted."""
        if self.started is None:
            return 0.0
        end = self.ended or self.paused_at or now
        return max(0.0, end - self.started - self.paused_s)
