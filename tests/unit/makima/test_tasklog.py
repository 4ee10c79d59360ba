from __future__ import annotations

import json
import stat
import tempfile
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tachikoma.makima.tasklog import TaskLog, TaskLogReader, TaskLogs, task_log
from tachikoma.makima.tasks.port import Line

TASK = UUID("550e8400-e29b-41d4-a716-446655440000")


def test_the_file_is_beside_the_database_and_named_for_the_task() -> None:
    assert task_log(Path("/var/daemon.db"), TASK) == Path(f"/var/logs/task-{TASK}.log")


def test_lines_stand_as_they_came_and_others_say_what_they_are(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "t.log"
    log = TaskLog(path)
    log.add([Line('{"type": "assistant"}'), Line("no such file", stderr=True)])
    log.note("the task has ended: done")
    assert path.read_text().splitlines() == [
        '{"type": "assistant"}',
        '{"type": "stderr", "text": "no such file"}',
        '{"type": "daemon", "text": "the task has ended: done"}',
    ]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_pieces_of_a_line_are_joined_each_output_for_itself(tmp_path: Path) -> None:
    path = tmp_path / "t.log"
    log = TaskLog(path)
    log.add([Line("one ", partial=True), Line("err ", partial=True, stderr=True)])
    assert not path.exists()
    log.add([Line("two"), Line("begun", partial=True)])
    log.end()
    assert path.read_text().splitlines() == [
        "one two",
        "begun",
        '{"type": "stderr", "text": "err "}',
    ]


def test_what_is_no_unicode_is_kept_as_far_as_it_goes(tmp_path: Path) -> None:
    path = tmp_path / "t.log"
    TaskLog(path).add([Line("a\udcffb"), Line("a\udcffb", stderr=True)])
    assert len(TaskLogReader(path).more()) == 2


def test_a_reader_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "t.log"
    log, reader = TaskLog(path), TaskLogReader(path)
    assert reader.more() == []
    log.add([Line("one")])
    assert reader.more() == ["one"]
    assert reader.more() == []
    path.write_bytes(path.read_bytes() + b"two\nbeg")
    assert reader.more() == ["two"]
    assert reader.rest() == ["beg"]
    assert reader.rest() == []


def test_a_file_at_its_bound_loses_the_older_half_at_a_line(tmp_path: Path) -> None:
    path = tmp_path / "t.log"
    log = TaskLog(path, largest=100)
    follower = TaskLogReader(path)
    seen: list[str] = []
    for number in range(50):
        log.add([Line(f"line {number:03}")])
        seen += follower.more()
    assert path.stat().st_size <= 100
    assert seen == [f"line {number:03}" for number in range(50)]
    first, *lines = path.read_text().splitlines()
    cut = json.loads(first)
    assert cut == {"type": "cut", "bytes": 9 * (50 - len(lines))}
    assert lines == [f"line {number:03}" for number in range(50 - len(lines), 50)]
    assert TaskLogReader(path).more() == [first, *lines]


def test_who_reads_too_slowly_is_told_what_was_cut_away(tmp_path: Path) -> None:
    path = tmp_path / "t.log"
    log, reader = TaskLog(path, largest=100), TaskLogReader(path)
    log.add([Line("line 000")])
    assert reader.more() == ["line 000"]
    for number in range(1, 50):
        log.add([Line(f"line {number:03}")])
    cut, first, *_ = reader.more()
    assert json.loads(cut)["bytes"] == 9 * (int(first.removeprefix("line ")) - 1)


def test_a_piece_larger_than_the_bound_is_kept_whole(tmp_path: Path) -> None:
    path = tmp_path / "t.log"
    log = TaskLog(path, largest=100)
    log.add([Line("x" * 300)])
    log.add([Line("after")])
    cut, last = path.read_text().splitlines()
    assert json.loads(cut)["bytes"] == 301
    assert last == "after"


@settings(max_examples=25)
@given(
    st.lists(st.lists(st.text(alphabet="ab\u00e9\u20ac", max_size=40), max_size=5), max_size=20),
    st.integers(50, 300),
)
def test_a_follower_misses_nothing_that_it_was_quick_enough_for(
    pieces: list[list[str]], largest: int
) -> None:
    def run(path: Path) -> tuple[list[str], list[str]]:
        log, reader = TaskLog(path, largest=largest), TaskLogReader(path)
        seen: list[str] = []
        for piece in pieces:
            log.add([Line(text) for text in piece])
            seen += reader.more()
        return seen, TaskLogReader(path).more()

    with tempfile.TemporaryDirectory() as directory:
        seen, left = run(Path(directory) / "t.log")
    written = [text for piece in pieces for text in piece]
    assert seen == written
    kept = left[1:] if left and left[0].startswith('{"type": "cut"') else left
    assert written[len(written) - len(kept) :] == kept


def test_the_logs_of_a_daemon_are_one_file_a_task(tmp_path: Path) -> None:
    logs, other = TaskLogs(tmp_path / "daemon.db"), UUID(int=7)
    logs.keep(TASK, [Line("one"), Line("begun", partial=True)])
    logs.keep(other, [Line("two")])
    logs.note(other, "paused")
    logs.ended(TASK)
    assert TaskLogReader(task_log(tmp_path / "daemon.db", TASK)).more() == ["one", "begun"]
    assert len(TaskLogReader(task_log(tmp_path / "daemon.db", other)).more()) == 2


def test_a_place_that_cannot_be_written_is_told_once_and_fails_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "logs").touch()
    logs = TaskLogs(tmp_path / "daemon.db")
    for _ in range(3):
        logs.keep(TASK, [Line("one")])
    assert len(caplog.messages) == 1
