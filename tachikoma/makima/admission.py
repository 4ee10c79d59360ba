"""Which waiting tasks may start (pure)."""

from __future__ import annotations

from collections.abc import Iterable

from tachikoma.makima.record import TaskRecord, TaskStatus

_AT_WORK = {TaskStatus.INITIALIZING, TaskStatus.RUNNING}


def admitted(records: Iterable[TaskRecord], *, most: int) -> list[TaskRecord]:
    """Give the waiting tasks that may start now, in the order of their arrival.

    At most ``most`` tasks are at work. An orchestrator that waits for its subtasks must not keep
    them from starting: what it occupies counts for tasks at the top, not for subtasks, so there
    may be ``most`` orchestrators and ``most`` subtasks beside each other, and all come to an end.
    """
    busy = [each for each in records if _occupies(each)]
    everyone = len(busy)
    workers = sum(not each.order.is_orchestrator for each in busy)
    found = []
    waiting = (each for each in records if each.status is TaskStatus.PENDING)
    for record in sorted(waiting, key=lambda each: each.arrival):
        is_subtask = record.order.parent_task_id is not None
        if (workers if is_subtask else everyone) >= most:
            continue
        found.append(record)
        everyone += 1
        workers += not record.order.is_orchestrator
    return found


def _occupies(record: TaskRecord) -> bool:
    """A task that is paused before it began holds nothing; one that is paused at work does."""
    if record.status is TaskStatus.PAUSED:
        return record.started is not None
    return record.status in _AT_WORK
