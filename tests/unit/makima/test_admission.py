from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from tachikoma.makima.admission import admitted
from tachikoma.makima.commands import SpawnTask
from tachikoma.makima.record import TaskRecord, TaskStatus


def task(
    number: int, status: str = "pending", *, parent: int = 0, leads: bool = False
) -> TaskRecord:
    order = SpawnTask(
        task_id=UUID(int=number),
        plan="Build it",
        depth=int(parent > 0),
        is_orchestrator=leads,
        parent_task_id=UUID(int=parent) if parent else None,
    )
    record = TaskRecord(order=order, arrival=number, status=TaskStatus(status), created=0.0)
    return replace(record, started=1.0) if status in {"running", "paused"} else record


def numbers(records: list[TaskRecord], most: int) -> list[int]:
    return [each.arrival for each in admitted(records, most=most)]


def test_tasks_start_in_the_order_of_their_arrival_while_there_is_room() -> None:
    assert numbers([task(3), task(1), task(2), task(4, "running")], 3) == [1, 2]


def test_nothing_starts_where_all_is_taken() -> None:
    assert numbers([task(1, "initializing"), task(2, "paused"), task(3)], 2) == []


def test_what_is_paused_before_it_began_neither_starts_nor_holds_a_place() -> None:
    held = replace(task(1, "paused"), started=None)
    assert numbers([held, task(2)], 1) == [2]


def test_an_orchestrator_does_not_keep_its_subtasks_from_starting() -> None:
    records = [task(1, "running", leads=True), task(2, parent=1), task(3, parent=1), task(4)]
    assert numbers(records, 1) == [2]


def test_a_subtask_goes_ahead_of_a_task_that_has_to_wait() -> None:
    records = [task(1, "running", leads=True), task(2), task(3, parent=1)]
    assert numbers(records, 1) == [3]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["pending", "initializing", "running", "paused", "done"]),
            st.booleans(),
            st.booleans(),
        ),
        max_size=20,
    ),
    st.integers(1, 5),
)
def test_something_always_starts_when_no_worker_works(
    drawn: list[tuple[str, bool, bool]], most: int
) -> None:
    records = [
        task(number, status, parent=99 * child, leads=leads)
        for number, (status, child, leads) in enumerate(drawn, 1)
    ]
    started = admitted(records, most=most)
    at_work = [each for each in records if each.status in {"initializing", "running", "paused"}]
    workers = sum(not each.order.is_orchestrator for each in at_work)
    subtasks = [each for each in records if each.status == "pending" and each.order.parent_task_id]
    assert len(started) + workers <= 2 * most or not started
    if subtasks and workers < most:
        assert started
