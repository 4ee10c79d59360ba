"""How a task comes from one status to the next: its standing and a word in, another one out (pure).

A task is tried one or several times, each time by one daemon. While such an attempt is ``out``, the
task's status is what the daemon says, and what people want of it is passed on. At all other times
the status is ours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto

from tachikoma.makima.record import TaskStatus

PENDING, PAUSED = TaskStatus.PENDING, TaskStatus.PAUSED
DONE, FAILED, INTERRUPTED = TaskStatus.DONE, TaskStatus.FAILED, TaskStatus.INTERRUPTED


@dataclass(frozen=True, slots=True)
class Standing:
    """How a task stands.

    ``attempt`` is the number of the latest one, 0 before the first; ``out`` whether a daemon has
    it. ``said`` is how that daemon has said that it is about to end. ``wanted`` marks one that is
    to be interrupted, ``by_dependency`` one that failed because another task did, and ``lost`` one
    whose last attempt ended because its daemon did not come back.
    """

    status: TaskStatus = PENDING
    attempt: int = 0
    max_attempts: int = 1
    out: bool = False
    said: TaskStatus | None = None
    wanted: bool = False
    by_dependency: bool = False
    lost: bool = False
    error: str = ""


class Order(Enum):
    """What follows for others."""

    INTERRUPT = auto()
    PAUSE = auto()
    RESUME = auto()
    ENDED = auto()
    """The task has ended; if not well, those that depend on it fail."""
    REVIVED = auto()
    """It is tried again; those that failed because of it wait again."""


@dataclass(frozen=True, slots=True)
class Assigned:
    """A daemon gets it: a new attempt."""


@dataclass(frozen=True, slots=True)
class Said:
    """Its daemon says a status."""

    status: TaskStatus


@dataclass(frozen=True, slots=True)
class Completed:
    """Its daemon says that it is over; ``error`` may come with success, too."""

    success: bool
    error: str = ""


@dataclass(frozen=True, slots=True)
class Vanished:
    """Its daemon has been away for too long."""

    error: str


@dataclass(frozen=True, slots=True)
class Found:
    """Its daemon has come back and works on it."""


@dataclass(frozen=True, slots=True)
class DependencyFailed:
    """A task that it depends on did not end well."""

    error: str


@dataclass(frozen=True, slots=True)
class DependencyRevived:
    """That task is tried again."""


@dataclass(frozen=True, slots=True)
class Interrupted:
    """A person, or the end of its orchestrator, ends it early."""

    why: str = "interrupted"


@dataclass(frozen=True, slots=True)
class Paused:
    """A person holds it."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """A person lets it go on."""


@dataclass(frozen=True, slots=True)
class Retried:
    """A person has it tried again."""


Word = (
    Assigned
    | Said
    | Completed
    | Vanished
    | Found
    | DependencyFailed
    | DependencyRevived
    | Interrupted
    | Paused
    | Resumed
    | Retried
)


@dataclass(frozen=True, slots=True)
class Step:
    """What comes of a word."""

    standing: Standing
    orders: tuple[Order, ...] = ()


@dataclass(frozen=True, slots=True)
class Wrong:
    """The word makes no sense there; says why. Nothing changes."""

    reason: str


def step(standing: Standing, word: Word) -> Step | Wrong:  # noqa: C901, PLR0911, PLR0912 - one arm a word
    """Say what comes of ``word``.

    What a daemon says about a task that it does not have any more changes nothing.
    """
    match word:
        case Assigned():
            return _assigned(standing)
        case Said(status):
            return _said(standing, status)
        case Completed():
            return _completed(standing, word)
        case Vanished(error):
            return _vanished(standing, error)
        case Found():
            return _found(standing)
        case DependencyFailed(error):
            return _dependency_failed(standing, error)
        case DependencyRevived():
            return _dependency_revived(standing)
        case Interrupted(why):
            return _interrupted(standing, why)
        case Paused():
            return _paused(standing)
        case Resumed():
            return _resumed(standing)
        case Retried():
            return _retried(standing)


def _assigned(at: Standing) -> Step | Wrong:
    if at.out or at.status is not PENDING:
        return Wrong(f"it is {at.status}")
    return Step(replace(at, out=True, attempt=at.attempt + 1, said=None, lost=False, error=""))


def _said(at: Standing, status: TaskStatus) -> Step:
    if not at.out:
        return Step(at)
    if status.ended:  # `taskComplete` comes behind it, and is the end
        return Step(replace(at, said=status))
    return Step(replace(at, status=status))


def _completed(at: Standing, word: Completed) -> Step:
    if not (at.out or at.lost):
        return Step(at)
    if word.success:
        return _ended(at, DONE, word.error)
    if at.wanted or at.said is INTERRUPTED:
        return _ended(at, INTERRUPTED, word.error or "interrupted")
    return _failed(at, word.error or "its daemon did not say why")


def _failed(at: Standing, error: str) -> Step:
    if at.attempt < at.max_attempts:
        again = replace(at, status=PENDING, out=False, said=None, lost=False, error=error)
        return Step(again)
    return _ended(at, FAILED, error)


def _ended(at: Standing, status: TaskStatus, error: str) -> Step:
    over = replace(at, status=status, out=False, said=None, wanted=False, lost=False, error=error)
    return Step(over, (Order.ENDED,))


def _vanished(at: Standing, error: str) -> Step:
    if not at.out:
        return Step(at)
    if at.wanted:
        return _ended(at, INTERRUPTED, error)
    came = _failed(at, error)
    ended = came.standing.status.ended
    return replace(came, standing=replace(came.standing, lost=ended))


def _found(at: Standing) -> Step:
    """Take an attempt back that was given up, if nothing has been done in its place."""
    if not at.lost:
        return Step(at)
    back = replace(at, status=TaskStatus.RUNNING, out=True, lost=False, error="")
    return Step(back, (Order.REVIVED,))


def _dependency_failed(at: Standing, error: str) -> Step:
    if at.out or at.status.ended:
        return Step(at)
    return _with(_ended(at, FAILED, error), by_dependency=True)


def _dependency_revived(at: Standing) -> Step:
    if not at.by_dependency:
        return Step(at)
    return Step(replace(at, status=PENDING, by_dependency=False, error=""), (Order.REVIVED,))


def _interrupted(at: Standing, why: str) -> Step | Wrong:
    if at.status.ended:
        return Wrong(f"it is {at.status}")
    if at.out:
        return Step(replace(at, wanted=True), (Order.INTERRUPT,))
    return _ended(at, INTERRUPTED, why)


def _paused(at: Standing) -> Step | Wrong:
    if at.status.ended:
        return Wrong(f"it is {at.status}")
    if at.out:
        return Step(at, (Order.PAUSE,))
    return Step(replace(at, status=PAUSED))


def _resumed(at: Standing) -> Step | Wrong:
    if at.status.ended:
        return Wrong(f"it is {at.status}")
    if at.out:
        return Step(at, (Order.RESUME,))
    return Step(replace(at, status=PENDING))


def _retried(at: Standing) -> Step | Wrong:
    if at.status not in {FAILED, INTERRUPTED}:
        return Wrong(f"it is {at.status}")
    again = replace(
        at,
        status=PENDING,
        max_attempts=max(at.max_attempts, at.attempt + 1),
        by_dependency=False,
        lost=False,
        error="",
    )
    return Step(again, (Order.REVIVED,))


def _with(came: Step, *, by_dependency: bool) -> Step:
    return replace(came, standing=replace(came.standing, by_dependency=by_dependency))
