from __future__ import annotations

from tachikoma.makima.record import TaskStatus


def test_a_task_has_ended_when_nothing_more_happens_by_itself() -> None:
    assert {status for status in TaskStatus if status.ended} == {
        TaskStatus.DONE,
        TaskStatus.FAILED,
        TaskStatus.INTERRUPTED,
    }
