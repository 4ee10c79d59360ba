"""What needs no other process; tests/live/test_supervisor.py has what does, and more."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tachikoma.host import process
from tachikoma.host.clock import SystemClock
from tachikoma.model.errors_fleet import SupervisorBusyError, SupervisorError
from tachikoma.supervisor.control import Found, Standing, SupervisorControl
from tachikoma.supervisor.record import RecordFile, SupervisorRecord, WorkerRecord


@pytest.fixture
def file(tmp_path: Path) -> RecordFile:
    file = RecordFile(tmp_path / "daemon.json")
    with file.held():
        return file


@pytest.fixture
def control(file: RecordFile) -> SupervisorControl:
    return SupervisorControl(record=file, clock=SystemClock())


def record(*workers: WorkerRecord, alive: bool) -> SupervisorRecord:
    pid = os.getpid()
    return SupervisorRecord(
        pid=pid,
        started=(process.start_time(pid) or "") if alive else "long ago",
        cwd="/",
        started_at="2026-11-21T10:00:00Z",
        worker_kinds=(),
        last_status="running",
        name="",
        log="/log",
        workers=workers,
    )


async def test_without_a_record_nothing_runs(control: SupervisorControl) -> None:
    assert control.look() == Found(Standing.STOPPED)
    await control.stop(Found(Standing.STOPPED))
    with pytest.raises(SupervisorError, match="no supervisor is running"):
        control.retry()


async def test_a_living_process_is_a_running_supervisor(
    file: RecordFile, control: SupervisorControl
) -> None:
    file.write(record(alive=True))
    assert control.look() == Found(Standing.RUNNING, record(alive=True))


async def test_a_stale_record_is_removed_but_not_while_another_supervisor_starts(
    file: RecordFile, control: SupervisorControl
) -> None:
    file.write(record(alive=False))
    with file.held():
        assert control.look() == Found(Standing.STALE, record(alive=False))
        assert file.read() is not None
    assert control.look().cleaned
    assert file.read() is None


async def test_a_start_is_refused_where_one_runs(
    file: RecordFile, control: SupervisorControl, tmp_path: Path
) -> None:
    file.write(record(alive=True))
    with file.held(), pytest.raises(SupervisorBusyError, match=f"process {os.getpid()}"):
        await control.start(["true"], environ={}, said=tmp_path / "said")


@pytest.mark.live
async def test_what_a_supervisor_says_that_does_not_come_up_is_kept(
    control: SupervisorControl, tmp_path: Path
) -> None:
    argv = [sys.executable, "-c", "import sys; sys.exit('no such thing')"]
    said = tmp_path / "logs" / "said"
    with pytest.raises(SupervisorError, match="does not come up") as caught:
        await control.start(argv, environ={}, said=said)
    assert caught.value.details == "no such thing"
