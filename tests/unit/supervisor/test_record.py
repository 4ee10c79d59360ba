from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tachikoma.host import process
from tachikoma.model.errors_fleet import SupervisorBusyError
from tachikoma.supervisor.record import (
    RecordFile,
    SupervisorRecord,
    WorkerRecord,
    decode,
    encode,
)

WORKER = WorkerRecord(
    kind="makima", why="configured", state="waiting", restarts=3, rapid=2, retry_at=17.5
)


def record(pid: int, started: str, *workers: WorkerRecord) -> SupervisorRecord:
    return SupervisorRecord(
        pid=pid,
        started=started,
        cwd="/src/box",
        started_at="2026-11-21T10:00:00Z",
        worker_kinds=tuple(each.kind for each in workers),
        last_status="running",
        name="",
        log="/log",
        workers=workers,
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "own" / "daemon.json"


def test_what_is_written_is_read_again(file: Path) -> None:
    records = RecordFile(file)
    assert records.read() is None
    with records.held():
        records.write(record(7, "8", WORKER))
    assert records.read() == record(7, "8", WORKER)
    assert file.stat().st_mode & 0o777 == 0o600
    records.remove()
    records.remove()
    assert records.read() is None


def test_the_file_has_the_names_that_others_know() -> None:
    plain = encode(record(7, "8", WORKER))
    assert {
        key: plain[key] for key in ("pid", "cwd", "startedAt", "workerKinds", "lastStatus")
    } == {
        "pid": 7,
        "cwd": "/src/box",
        "startedAt": "2026-11-21T10:00:00Z",
        "workerKinds": ("makima",),
        "lastStatus": "running",
    }
    assert plain["workers"][0]["retryAt"] == 17.5
    assert decode(json.loads(json.dumps(plain))) == record(7, "8", WORKER)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "null",
        '{"version": 2}',
        json.dumps({**encode(record(7, "8")), "pid": "7"}),
        json.dumps({**encode(record(7, "8")), "pid": -1}),
        json.dumps({**encode(record(7, "8")), "workers": [{"other": 1}]}),
    ],
)
def test_a_file_that_is_something_else_is_no_record(file: Path, text: str) -> None:
    file.parent.mkdir()
    file.write_text(text)
    assert RecordFile(file).read() is None


def test_a_process_is_known_by_its_id_and_start_time() -> None:
    me = os.getpid()
    started = process.start_time(me) or ""
    assert record(me, started).alive
    assert not record(me, "another start").alive
    mine = WorkerRecord(kind="proxy", why="", pid=me, started=started)
    assert record(1, "", WORKER, mine).left_over == (mine,)


def test_the_lock_is_held_by_one_and_the_other_is_told_by_whom(file: Path) -> None:
    records = RecordFile(file)
    me = record(os.getpid(), process.start_time(os.getpid()) or "")
    with records.held():
        with pytest.raises(SupervisorBusyError, match="just starting or ending"), records.held():
            pass
        records.write(me)
        told = f"a supervisor runs already: process {me.pid}, in /src/box, since {me.started_at}"
        with pytest.raises(SupervisorBusyError, match=told), RecordFile(file).held():
            pass
    with records.held():
        pass
