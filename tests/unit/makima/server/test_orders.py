from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from tachikoma.makima.record import Figures, TaskStatus
from tachikoma.makima.server.course import Standing
from tachikoma.makima.server.entries import AttemptEntry, Entry, Texts
from tachikoma.makima.server.orders import GUIDE, spawn_order

HERE, THERE = UUID(int=1), UUID(int=2)
TASK, AGAIN, LEAD = UUID(int=10), UUID(int=11), UUID(int=12)
FIRST = Entry(
    id=TASK, name="Fix it", created=0.0, standing=Standing(attempt=1, out=True),
    machine=HERE, current=TASK, repo="/r", base_branch="dev",
)  # fmt: skip
SECOND = replace(FIRST, standing=Standing(attempt=2, out=True), current=AGAIN)
TEXTS = Texts("plan", copy_files=("a",))


def attempt(number: int, *, machine: UUID = HERE, error: str = "") -> AttemptEntry:
    id_ = TASK if number == 1 else AGAIN
    return AttemptEntry(id_, TASK, number, machine, TaskStatus.FAILED, error, Figures(), 0.0, None)


def test_the_first_attempt_is_told_as_it_was_asked_for() -> None:
    order = spawn_order(FIRST, TEXTS, attempts=[attempt(1)], parent=None, source=None)
    assert (order.task_id, order.plan, order.task_name) == (TASK, "plan", "Fix it")
    assert (order.repo_url, order.base_branch, order.copy_files) == ("/r", "dev", ("a",))
    assert (order.completion_action, order.continue_from_task_id) == (None, None)


def test_another_attempt_goes_on_where_the_last_one_was() -> None:
    attempts = [attempt(1, error="it rained"), attempt(2)]
    order = spawn_order(SECOND, TEXTS, attempts=attempts, parent=None, source=None)
    assert (order.task_id, order.continue_from_task_id) == (AGAIN, TASK)
    assert order.plan.startswith("An earlier attempt at this task ended: it rained.")
    assert order.plan.endswith("\n\nplan")


def test_one_on_another_machine_or_from_the_beginning_does_not() -> None:
    elsewhere = [attempt(1, machine=THERE), attempt(2)]
    here = [attempt(1), attempt(2)]
    for entry, attempts in ((SECOND, elsewhere), (replace(SECOND, fresh=True), here)):
        order = spawn_order(entry, TEXTS, attempts=attempts, parent=None, source=None)
        assert (order.plan, order.continue_from_task_id) == ("plan", None)


def test_an_orchestrator_is_told_how_to_lead() -> None:
    entry = replace(FIRST, orchestrator=True)
    order = spawn_order(entry, TEXTS, attempts=[], parent=None, source=None)
    assert order.is_orchestrator
    assert order.plan == f"plan\n\n{GUIDE}"


def test_a_subtask_is_told_its_orchestrators_attempt_and_where_to_go_on_from() -> None:
    lead = Entry(id=LEAD, name="lead", created=0.0, machine=HERE, current=AGAIN)
    order = spawn_order(FIRST, TEXTS, attempts=[], parent=lead, source=lead)
    assert (order.parent_task_id, order.continue_from_task_id) == (AGAIN, AGAIN)
    away = replace(lead, machine=THERE)
    order = spawn_order(FIRST, TEXTS, attempts=[], parent=None, source=away)
    assert order.continue_from_task_id is None
