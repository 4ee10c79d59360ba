from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tachikoma.makima.commands import SpawnTask
from tachikoma.makima.record import (
    Figures,
    Position,
    Skip,
    TaskRecord,
    TaskStatus,
    Verdict,
    Workspace,
)
from tachikoma.makima.rows import CHANGING, NotARecordError, from_row, to_row
from tachikoma.makima.wire import encode

TASK = UUID("550e8400-e29b-41d4-a716-446655440000")
ORDER = SpawnTask(task_id=TASK, plan="Add a page.", depth=0, is_orchestrator=False)
NEW = TaskRecord(order=ORDER, arrival=3, status=TaskStatus.PENDING, created=1.5)

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
COUNTS = st.integers(0, 2**62)
PATHS = TEXT.filter(lambda text: "\0" not in text).map(lambda text: Path("/", text))
RECORDS = st.builds(
    TaskRecord,
    order=st.just(ORDER),
    arrival=st.just(3),
    status=st.sampled_from(TaskStatus),
    created=st.floats(0, 1e12),
    workspace=st.none() | st.builds(Workspace, PATHS, PATHS, TEXT, TEXT),
    position=st.builds(Position, COUNTS, COUNTS),
    figures=st.builds(Figures, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS, st.floats(0, 1e12)),
    summary=TEXT,
    session=TEXT,
    result=st.none() | TEXT,
    verdict=st.none() | st.builds(Verdict, st.sampled_from(TaskStatus), TEXT),
    agent_over=st.booleans(),
    paused_at=st.none() | st.floats(0, 1e12),
    paused_s=st.floats(0, 1e12),
    tool_key=TEXT,
    skips=st.lists(st.builds(Skip, st.uuids(), TEXT)).map(tuple),
)


def back(record: TaskRecord) -> TaskRecord:
    return from_row(record.arrival, encode(record.order), to_row(record))


@given(RECORDS)
def test_what_is_written_reads_as_the_same(record: TaskRecord) -> None:
    assert back(record) == record


def test_there_is_a_column_for_every_value() -> None:
    assert len(to_row(NEW)) == len(CHANGING) == len(set(CHANGING))


def test_a_directory_whose_name_is_no_unicode_is_kept() -> None:
    place = Workspace(Path("/r"), Path("/caf\udce9"), "makima/task-1", "9fceb02")
    assert back(replace(NEW, workspace=place)).workspace == place


def test_half_a_character_in_a_summary_becomes_a_question_mark() -> None:
    assert back(replace(NEW, summary="a\ud800b")).summary == "a?b"


@pytest.mark.parametrize(
    ("column", "value"),
    [("status", "asleep"), ("verdict", "asleep"), ("skips", "no JSON"), ("skips", "[[1]]")],
)
def test_what_nobody_of_us_wrote_is_no_record(column: str, value: Any) -> None:
    row: list[object] = list(to_row(NEW))
    row[CHANGING.index(column)] = value
    with pytest.raises(NotARecordError):
        from_row(3, encode(ORDER), row)


@pytest.mark.parametrize("order", ["", "{}", '{"type":"pauseTask"}'])
def test_an_order_that_starts_no_task_is_no_record(order: str) -> None:
    with pytest.raises(NotARecordError, match="the order of task 3"):
        from_row(3, order, to_row(NEW))
