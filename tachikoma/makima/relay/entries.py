"""What the relay knows of tasks and daemons, and what of it is to be written (pure)."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID

from tachikoma.makima.messages import Message


class Status(StrEnum):
    """How far a task has come as the relay sees it."""

    PENDING = "pending"
    DISPATCHED = "dispatched"
    COMPLETED = "completed"
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        """Whether it has been reported as complete."""
        return self in {Status.COMPLETED, Status.FAILED}


@dataclass(frozen=True, slots=True)
class Entry:
    """One task. Times are seconds since the epoch, None for not yet.

    ``machine`` is who got it. ``said`` is the status that its daemon told last. ``given_up`` marks
    one that the relay has reported as failed by itself: what its daemon says of it comes too late.
    ``waiting`` is how many commands wait with it for a daemon.
    """

    id: UUID
    arrival: int
    name: str
    received: float
    status: Status = Status.PENDING
    machine: str | None = None
    dispatched: float | None = None
    ended: float | None = None
    said: str = "pending"
    error: str = ""
    given_up: bool = False
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a connection or a task; ``kind`` is for machines."""

    at: float
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class MachineRow:
    """What outlives a machine's connections: the id that its daemon has here, and the number of
    the last message that was kept.
    """

    id: str
    daemon_id: UUID
    hostname: str
    last_seq: int
    seen: float


@dataclass(slots=True)
class Machine:
    """A daemon's machine. ``since`` and ``away_since`` are of a clock that never goes back; one of
    them is None. ``active`` is what its heartbeat told.
    """

    row: MachineRow
    most: int = 0
    since: float | None = None
    away_since: float | None = None
    held: set[UUID] = field(default_factory=set)
    active: frozenset[UUID] = frozenset()
    missing: dict[UUID, float] = field(default_factory=dict)
    undelivered: OrderedDict[int, UUID] = field(default_factory=OrderedDict)
    told_to_end: set[UUID] = field(default_factory=set)

    @property
    def called(self) -> str:
        """What it is called in logs."""
        return f"{self.row.hostname} ({self.row.daemon_id})"


@dataclass(slots=True)
class Counts:
    """What has happened since the relay was started."""

    received: int = 0
    dispatched: int = 0
    completed: int = 0
    failed: int = 0
    given_up: int = 0
    up: int = 0
    down: int = 0
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class Addressed:
    """A command on its way to ``machine``; ``id`` orders them."""

    id: int
    machine: str
    task: UUID
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Moved:
    """The commands that waited with ``task`` are on their way to ``machine``, numbered from
    ``first_id``.
    """

    task: UUID
    machine: str
    first_id: int


@dataclass(slots=True)
class Batch:
    """What is to be written, all of it or nothing, in the order of the fields; then ``wake`` are
    the machines for which there are commands.
    """

    waiting: list[tuple[UUID, str]] = field(default_factory=list)
    moved: list[Moved] = field(default_factory=list)
    dropped: list[UUID] = field(default_factory=list)
    """Tasks whose waiting commands are of no use any more."""
    addressed: list[Addressed] = field(default_factory=list)
    delivered: dict[str, int] = field(default_factory=dict)
    tasks: dict[UUID, Entry] = field(default_factory=dict)
    forgotten: list[UUID] = field(default_factory=list)
    machines: dict[str, MachineRow] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    state: dict[str, str] = field(default_factory=dict)
    says: list[Message] = field(default_factory=list)
    wake: set[str] = field(default_factory=set)

    def __bool__(self) -> bool:
        """Whether there is anything to write."""
        return bool(
            self.waiting
            or self.moved
            or self.dropped
            or self.addressed
            or self.delivered
            or self.tasks
            or self.forgotten
            or self.machines
            or self.events
            or self.state
            or self.says
        )


@dataclass(frozen=True, slots=True)
class Known:
    """What a relay before this one left: the tasks by arrival, the machines, the commands that no
    daemon has for sure (id, machine, task), the highest id that one ever had, how many tasks have
    ended.
    """

    tasks: tuple[Entry, ...] = ()
    machines: tuple[MachineRow, ...] = ()
    addressed: tuple[tuple[int, str, UUID], ...] = ()
    newest_command: int = 0
    processed: int = 0
