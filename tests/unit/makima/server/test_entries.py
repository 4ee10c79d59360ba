from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from tachikoma.makima.record import Figures, TaskStatus
from tachikoma.makima.server.course import Standing
from tachikoma.makima.server.entries import (
    TASK_COLUMNS,
    Entry,
    Outcome,
    attempt_from,
    entry_from,
    entry_row,
    figures_text,
    machine_from,
    sound,
)
from tachikoma.makima.server.shapes import Action

IDS = st.uuids()
MAYBE = st.none() | IDS
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
MAYBE_TEXT = st.none() | TEXT
STANDINGS = st.builds(
    Standing,
    status=st.sampled_from(TaskStatus),
    attempt=st.integers(0, 9),
    max_attempts=st.integers(1, 9),
    out=st.booleans(),
    said=st.none() | st.sampled_from(TaskStatus),
    wanted=st.booleans(),
    by_dependency=st.booleans(),
    lost=st.booleans(),
    error=TEXT,
)
ENTRIES = st.builds(
    Entry,
    id=IDS,
    arrival=st.integers(1, 99),
    standing=STANDINGS,
    name=TEXT,
    parent=MAYBE,
    repo=MAYBE_TEXT,
    target_repo=MAYBE_TEXT,
    action=st.sampled_from(Action),
    machine=MAYBE,
    current=MAYBE,
    branch=MAYBE_TEXT,
    outcome=st.builds(Outcome, success=st.none() | st.booleans(), message=TEXT, pr_url=MAYBE_TEXT),
    orchestrator=st.booleans(),
    fresh=st.booleans(),
    archived=st.booleans(),
    figures=st.builds(Figures, turns=st.integers(0, 9), cost_usd=st.floats(0, 9)),
    created=st.floats(0, 9),
    started=st.none() | st.floats(0, 9),
)


@given(ENTRIES)
def test_a_task_is_read_as_it_was_written(entry: Entry) -> None:
    row = entry_row(entry)
    assert len(row) == len(TASK_COLUMNS.split(", ")) - 1
    assert entry_from((entry.arrival, *row)) == entry


def test_a_name_that_is_no_unicode_can_be_stored() -> None:
    entry = Entry(id=UUID(int=1), name="a\ud800", created=0.0)
    assert entry_from((0, *entry_row(entry))) == replace(entry, name="a?")
    assert sound("\udc80x") == "?x"


def test_attempts_and_machines_are_read() -> None:
    id_, figures = str(UUID(int=1)), Figures(turns=3)
    attempt = attempt_from((id_, id_, 2, id_, "failed", "no", figures_text(figures), 0.0, None))
    assert (attempt.number, attempt.status, attempt.figures) == (2, TaskStatus.FAILED, figures)
    machine = machine_from((id_, "m", "host", 4, 9, '["a", "b", "c"]', 0.0, None, 1.0))
    assert machine.places is not None
    assert (machine.places.home, machine.seq, machine.connected) == ("b", 9, None)
