from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tachikoma.supervisor.restarts import (
    GOOD_S,
    LONGEST_S,
    MOST_RAPID,
    Again,
    Park,
    Parked,
    Restarts,
    ended,
    how,
    told,
)

STATUS = st.integers(-64, 255).filter(lambda status: status != 78)
RAN = st.floats(0, 1e7)


def follow(runs: list[tuple[int, float]]) -> list[Again | Park]:
    """Decide about one run after the other, until the worker is parked."""
    remembered, decisions = Restarts(), list[Again | Park]()
    for status, ran_s in runs:
        decision = ended(remembered, status=status, ran_s=ran_s)
        decisions.append(decision)
        if isinstance(decision, Park):
            break
        remembered = decision.then
    return decisions


def test_the_pause_doubles_and_the_fifth_short_run_parks() -> None:
    pauses = [each.after_s for each in follow([(1, 0.1)] * 9) if isinstance(each, Again)]
    assert pauses == [2, 4, 8, 16]
    assert follow([(1, 0.1)] * 9)[-1] == Park(Parked.RAPID, MOST_RAPID)


def test_a_good_run_starts_the_count_and_the_pause_anew() -> None:
    runs = [(1, 0.1)] * 4 + [(1, GOOD_S)] + [(1, 0.1)] * 5
    decisions = follow(runs)
    assert decisions[4] == Again(2, Restarts(rapid=0, pause_s=4))
    assert decisions[-1] == Park(Parked.RAPID, MOST_RAPID)
    assert len(decisions) == len(runs)


@given(st.lists(st.tuples(STATUS, RAN), max_size=60))
def test_no_pause_is_shorter_than_two_seconds_or_longer_than_two_minutes(
    runs: list[tuple[int, float]],
) -> None:
    pauses = [each.after_s for each in follow(runs) if isinstance(each, Again)]
    assert all(2 <= pause <= LONGEST_S for pause in pauses)


@given(st.lists(st.tuples(STATUS, RAN), max_size=60))
def test_a_worker_is_parked_exactly_after_five_short_runs_in_a_row(
    runs: list[tuple[int, float]],
) -> None:
    decisions = follow(runs)
    short = "".join("s" if ran_s < GOOD_S else "g" for _, ran_s in runs)
    at = short.find("s" * MOST_RAPID)
    assert [isinstance(each, Park) for each in decisions] == (
        [False] * len(runs) if at < 0 else [False] * (at + MOST_RAPID - 1) + [True]
    )


@given(st.integers(0, 4), st.floats(2, LONGEST_S), RAN)
def test_a_permanent_failure_parks_whatever_came_before(
    rapid: int, pause_s: float, ran_s: float
) -> None:
    decision = ended(Restarts(rapid, pause_s), status=78, ran_s=ran_s)
    assert decision == Park(Parked.PERMANENT, rapid)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (0, "code=0, signal=null"),
        (3, "code=3, signal=null"),
        (-9, "code=null, signal=SIGKILL"),
        (-40, "code=null, signal=40"),
    ],
)
def test_an_end_is_told_by_code_or_signal(status: int, said: str) -> None:
    decision = ended(Restarts(), status=status, ran_s=1)
    assert how(status) == said
    assert told("makima", status, decision) == (
        f"worker 'makima' exited ({said}), restarting in 2000ms"
    )


def test_parking_is_told_with_its_reason() -> None:
    permanent, rapid = Park(Parked.PERMANENT, 0), Park(Parked.RAPID, 5)
    assert told("proxy", 78, permanent) == "worker 'proxy' exited with permanent error — parking"
    assert told("proxy", 1, rapid) == "worker 'proxy' failed 5 times rapidly — parking"
