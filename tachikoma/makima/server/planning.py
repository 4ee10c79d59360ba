"""Which waiting tasks go to which daemons now (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from tachikoma.makima.dispatch import Load, least_loaded

ANY_NUMBER = 2**31 - 1
"""What a relay takes: it keeps what its own daemons have no room for."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A task that could begin. ``only`` is the one daemon that can do it, if there is such a one:
    subtasks merge where their orchestrator is, and who goes on from something goes on where it is.
    """

    id: UUID
    priority: int
    arrival: int
    only: UUID | None = None
    subtask: bool = False
    orchestrator: bool = False


@dataclass(frozen=True, slots=True)
class Capacity:
    """A connected daemon. ``leading`` of the tasks in ``load`` are orchestrators."""

    load: Load
    leading: int = 0


def most_of(max_concurrent_tasks: int) -> int:
    """Say how many tasks a daemon takes that says this number: 0 is a relay's."""
    return max_concurrent_tasks if max_concurrent_tasks > 0 else ANY_NUMBER


def planned(
    waiting: Iterable[Waiting], capacities: Sequence[Capacity]
) -> Iterator[tuple[UUID, UUID]]:
    """Give the tasks that go out now, each with its daemon: higher priority first, then arrival.

    An orchestrator that waits for its subtasks does not keep them from starting: what it occupies
    does not count for them, here as in the daemon.
    """
    there = {each.load.id: each for each in capacities}
    for task in sorted(waiting, key=lambda each: (-each.priority, each.arrival)):
        chosen = least_loaded(_loads(task, there))
        if chosen is None:
            continue
        before = there[chosen]
        there[chosen] = Capacity(
            replace(before.load, active=before.load.active + 1),
            before.leading + task.orchestrator,
        )
        yield task.id, chosen


def _loads(task: Waiting, there: Mapping[UUID, Capacity]) -> Iterator[Load]:
    for capacity in there.values():
        load = capacity.load
        if task.only is not None and task.only != load.id:
            continue
        yield replace(load, active=load.active - capacity.leading) if task.subtask else load
