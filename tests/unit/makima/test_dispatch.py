from __future__ import annotations

from dataclasses import replace
from random import Random
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from tachikoma.makima.dispatch import Load, least_loaded

FIRST, SECOND, THIRD = (UUID(int=number) for number in (1, 2, 3))

some_loads = st.lists(
    st.builds(
        Load,
        id=st.uuids(),
        most=st.integers(-2, 6),
        active=st.integers(0, 8),
        since=st.floats(0, 4),
    ),
    max_size=8,
    unique_by=lambda load: load.id,
)


def test_nobody_gets_a_task_where_nobody_is() -> None:
    assert least_loaded([]) is None


def test_the_daemon_with_the_fewest_tasks_gets_the_next_however_much_it_could_take() -> None:
    busy = Load(id=FIRST, most=100, active=2, since=0)
    idle = Load(id=SECOND, most=2, active=1, since=9)
    assert least_loaded([busy, idle]) == SECOND


def test_of_two_with_as_many_tasks_the_one_that_has_been_there_longer_gets_it() -> None:
    young = Load(id=FIRST, most=4, active=1, since=20)
    old = Load(id=SECOND, most=4, active=1, since=10)
    assert least_loaded([young, old]) == SECOND


def test_of_two_that_are_alike_it_is_always_the_same_one() -> None:
    one = Load(id=FIRST, most=4, active=1, since=10)
    other = Load(id=SECOND, most=4, active=1, since=10)
    assert least_loaded([one, other]) == least_loaded([other, one]) == FIRST


def test_a_daemon_that_takes_no_tasks_gets_none() -> None:
    relay = Load(id=FIRST, most=0, active=0, since=0)
    full = Load(id=SECOND, most=1, active=1, since=0)
    overfull = Load(id=THIRD, most=1, active=3, since=0)
    assert least_loaded([relay, full, overfull]) is None


@given(some_loads)
def test_a_task_goes_out_exactly_if_somebody_has_room(loads: list[Load]) -> None:
    assert (least_loaded(loads) is not None) == any(load.active < load.most for load in loads)


@given(some_loads)
def test_nobody_with_room_has_fewer_tasks_than_the_chosen_one(loads: list[Load]) -> None:
    chosen = least_loaded(loads)
    for load in loads:
        if load.id == chosen:
            assert load.has_room
            assert all(load.active <= each.active for each in loads if each.has_room)


@given(some_loads, st.randoms(use_true_random=False))
def test_the_order_in_which_daemons_are_listed_does_not_matter(
    loads: list[Load], random: Random
) -> None:
    shuffled = list(loads)
    random.shuffle(shuffled)
    assert least_loaded(shuffled) == least_loaded(loads)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.integers(0, 40))
def test_tasks_given_out_one_by_one_spread_evenly_until_all_are_full(
    most: list[int], tasks: int
) -> None:
    daemons = {
        UUID(int=at): Load(id=UUID(int=at), most=each, active=0, since=float(at))
        for at, each in enumerate(most)
    }
    given_out = 0
    for _ in range(tasks):
        chosen = least_loaded(daemons.values())
        if chosen is not None:
            daemons[chosen] = replace(daemons[chosen], active=daemons[chosen].active + 1)
            given_out += 1
    assert given_out == min(tasks, sum(most))
    busiest = max(load.active for load in daemons.values())
    assert all(load.active >= busiest - 1 for load in daemons.values() if load.has_room)
