from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from tachikoma.makima.commands import SpawnTask
from tachikoma.makima.record import TaskRecord, TaskStatus, Verdict

ORDER = SpawnTask(task_id=UUID(int=1), plan="Build it", depth=0, is_orchestrator=False)
RECORD = TaskRecord(order=ORDER, arrival=1, status=TaskStatus.PENDING, created=100.0)


def test_a_task_has_ended_when_nothing_more_happens_by_itself() -> None:
    assert {status for status in TaskStatus if status.ended} == {
        TaskStatus.DONE,
        TaskStatus.FAILED,
        TaskStatus.INTERRUPTED,
    }


def test_a_pause_is_no_work() -> None:
    assert RECORD.worked_s(500.0) == 0.0
    running = replace(RECORD, started=110.0, paused_s=20.0)
    assert running.worked_s(150.0) == 20.0
    assert replace(running, paused_at=140.0).worked_s(1000.0) == 10.0
    assert replace(running, ended=160.0).worked_s(1000.0) == 30.0


def test_the_error_is_the_verdict_s() -> None:
    assert RECORD.error == ""
    assert replace(RECORD, verdict=Verdict(TaskStatus.FAILED, "no")).error == "no"


def test_what_is_printed_of_a_record_has_no_key_in_it() -> None:
    assert "tk-1" not in repr(replace(RECORD, tool_key="tk-1"))
