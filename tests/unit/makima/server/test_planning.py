from __future__ import annotations

from uuid import UUID

from tachikoma.makima.dispatch import Load
from tachikoma.makima.server.planning import ANY_NUMBER, Capacity, Waiting, most_of, planned

A, B = UUID(int=1), UUID(int=2)


def task(number: int, *, priority: int = 0, only: UUID | None = None) -> Waiting:
    return Waiting(UUID(int=100 + number), priority, number, only)


def daemon(which: UUID, *, most: int = 2, active: int = 0, leading: int = 0) -> Capacity:
    return Capacity(Load(which, most, active, 0.0), leading)


def test_higher_priorities_go_first_then_those_that_came_first() -> None:
    waiting = [task(3), task(1), task(2, priority=5)]
    assert list(planned(waiting, [daemon(A, most=2)])) == [
        (UUID(int=102), A),
        (UUID(int=101), A),
    ]


def test_tasks_are_spread_over_the_daemons() -> None:
    found = list(planned([task(1), task(2), task(3)], [daemon(A), daemon(B, active=1)]))
    assert [where for _, where in found] == [A, A, B]


def test_who_can_only_be_done_by_one_waits_for_it_and_holds_up_nobody() -> None:
    full = [daemon(A, active=2), daemon(B)]
    assert list(planned([task(1, only=A), task(2)], full)) == [(UUID(int=102), B)]
    assert list(planned([task(1, only=UUID(int=9))], full)) == []


def test_an_orchestrator_does_not_keep_its_subtasks_from_starting() -> None:
    led = [daemon(A, most=1, active=1, leading=1)]
    subtask = Waiting(UUID(int=101), 0, 1, A, subtask=True)
    assert list(planned([subtask], led)) == [(subtask.id, A)]
    assert list(planned([task(2)], led)) == []
    second = Waiting(UUID(int=102), 0, 2, A, subtask=True)
    assert list(planned([subtask, second], led)) == [(subtask.id, A)]


def test_a_relay_takes_any_number() -> None:
    assert most_of(0) == ANY_NUMBER
    assert most_of(3) == 3
    waiting = [task(number) for number in range(50)]
    assert len(list(planned(waiting, [daemon(A, most=most_of(0))]))) == 50
