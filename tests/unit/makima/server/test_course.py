from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tachikoma.makima.record import TaskStatus
from tachikoma.makima.server.course import (
    Assigned,
    Completed,
    DependencyFailed,
    DependencyRevived,
    Found,
    Interrupted,
    Order,
    Paused,
    Resumed,
    Retried,
    Said,
    Standing,
    Step,
    Vanished,
    Word,
    Wrong,
    step,
)

RUNNING, PENDING = TaskStatus.RUNNING, TaskStatus.PENDING
OUT = Standing(status=RUNNING, attempt=1, out=True)
AGAIN = replace(OUT, max_attempts=2)


def walk(standing: Standing, *words: Word) -> tuple[list[TaskStatus], Standing, list[Order]]:
    statuses = [standing.status]
    orders: list[Order] = []
    for word in words:
        came = step(standing, word)
        assert isinstance(came, Step), (word, came)
        standing = came.standing
        orders += came.orders
        statuses.append(standing.status)
    return statuses, standing, orders


def test_a_task_that_goes_well() -> None:
    statuses, end, orders = walk(
        Standing(),
        Assigned(),
        Said(TaskStatus.INITIALIZING),
        Said(RUNNING),
        Said(TaskStatus.DONE),
        Completed(success=True),
    )
    assert [str(each) for each in statuses] == [
        *("pending", "pending", "initializing", "running", "running", "done")
    ]
    assert end == Standing(status=TaskStatus.DONE, attempt=1)
    assert orders == [Order.ENDED]


def test_success_may_come_with_a_complaint() -> None:
    _, end, _ = walk(OUT, Completed(success=True, error="the action failed"))
    assert (end.status, end.error) == (TaskStatus.DONE, "the action failed")


@pytest.mark.parametrize(
    ("standing", "word", "status", "orders"),
    [
        (OUT, Completed(success=False, error="no"), "failed", (Order.ENDED,)),
        (AGAIN, Completed(success=False, error="no"), "pending", ()),
        (OUT, Vanished("gone"), "failed", (Order.ENDED,)),
        (AGAIN, Vanished("gone"), "pending", ()),
        (replace(AGAIN, wanted=True), Vanished("gone"), "interrupted", (Order.ENDED,)),
        (replace(AGAIN, wanted=True), Completed(success=False), "interrupted", (Order.ENDED,)),
        (
            replace(AGAIN, said=TaskStatus.INTERRUPTED),
            Completed(success=False),
            "interrupted",
            (Order.ENDED,),
        ),
        (Standing(), Interrupted(), "interrupted", (Order.ENDED,)),
        (OUT, Interrupted(), "running", (Order.INTERRUPT,)),
        (Standing(), Paused(), "paused", ()),
        (OUT, Paused(), "running", (Order.PAUSE,)),
        (Standing(status=TaskStatus.PAUSED), Resumed(), "pending", ()),
        (replace(OUT, status=TaskStatus.PAUSED), Resumed(), "paused", (Order.RESUME,)),
        (Standing(), DependencyFailed("x"), "failed", (Order.ENDED,)),
        (Standing(status=TaskStatus.PAUSED), DependencyFailed("x"), "failed", (Order.ENDED,)),
        (OUT, DependencyFailed("x"), "running", ()),
        (Standing(status=TaskStatus.FAILED, attempt=1), Retried(), "pending", (Order.REVIVED,)),
    ],
)
def test_a_word_leads_to_a_status(
    standing: Standing, word: Word, status: str, orders: tuple[Order, ...]
) -> None:
    came = step(standing, word)
    assert isinstance(came, Step)
    assert (str(came.standing.status), came.orders) == (status, orders)


@pytest.mark.parametrize("status", ["done", "failed", "interrupted"])
@pytest.mark.parametrize("word", [Interrupted(), Paused(), Resumed(), Assigned()])
def test_nobody_orders_what_is_over(status: str, word: Word) -> None:
    assert step(Standing(status=TaskStatus(status)), word) == Wrong(f"it is {status}")


@pytest.mark.parametrize("status", ["pending", "running", "paused", "done"])
def test_only_what_did_not_go_well_is_tried_again(status: str) -> None:
    assert isinstance(step(Standing(status=TaskStatus(status)), Retried()), Wrong)


def test_a_retry_allows_one_attempt_more() -> None:
    _, end, _ = walk(OUT, Completed(success=False), Retried(), Assigned())
    assert (end.attempt, end.max_attempts, end.out) == (2, 2, True)


def test_an_attempt_that_was_given_up_is_taken_back() -> None:
    statuses, end, orders = walk(OUT, Vanished("gone"), Found(), Completed(success=True))
    assert [str(each) for each in statuses] == ["running", "failed", "running", "done"]
    assert orders == [Order.ENDED, Order.REVIVED, Order.ENDED]
    assert end.error == ""


def test_the_end_of_an_attempt_that_was_given_up_counts() -> None:
    statuses, _, _ = walk(OUT, Vanished("gone"), Completed(success=True))
    assert statuses[-1] is TaskStatus.DONE


def test_an_attempt_with_another_in_its_place_is_not_taken_back() -> None:
    _, end, _ = walk(AGAIN, Vanished("gone"), Found(), Assigned(), Found())
    assert (end.status, end.attempt) == (PENDING, 2)


def test_what_failed_by_another_waits_again_with_it() -> None:
    statuses, end, orders = walk(Standing(), DependencyFailed("x"), DependencyRevived())
    assert [str(each) for each in statuses] == ["pending", "failed", "pending"]
    assert end == Standing()
    assert orders == [Order.ENDED, Order.REVIVED]
    own = Standing(status=TaskStatus.FAILED)
    assert step(own, DependencyRevived()) == Step(own)


WORDS: list[Word] = [
    Assigned(),
    *(Said(status) for status in TaskStatus),
    Completed(success=True),
    Completed(success=False, error="no"),
    Vanished("gone"),
    Found(),
    DependencyFailed("x"),
    DependencyRevived(),
    Interrupted(),
    Paused(),
    Resumed(),
    Retried(),
]


@given(st.lists(st.sampled_from(WORDS), max_size=30), st.integers(1, 3))
def test_whatever_is_said_a_standing_makes_sense(words: list[Word], most: int) -> None:
    at = Standing(max_attempts=most)
    for word in words:
        before, came = at, step(at, word)
        at = came.standing if isinstance(came, Step) else at
        assert not (at.out and at.status.ended)
        assert not (at.by_dependency and at.status is not TaskStatus.FAILED)
        assert not (at.lost and not at.status.ended)
        assert at.attempt - before.attempt == (isinstance(word, Assigned) and at != before)
        assert at.attempt <= at.max_attempts
        if isinstance(came, Step):
            turned = (before.status.ended, at.status.ended)
            # A complaint about one that was given up ends it once more.
            assert (Order.ENDED in came.orders) == (turned == (False, True)) or before.lost
            assert (Order.REVIVED in came.orders) == (turned == (True, False))


def test_every_word_has_an_answer_everywhere() -> None:
    flags = itertools.product(TaskStatus, [False, True], [False, True], [False, True])
    for (status, out, wanted, lost), word in itertools.product(flags, WORDS):
        standing = Standing(status=status, out=out, wanted=wanted, lost=lost)
        assert isinstance(step(standing, word), Step | Wrong)
