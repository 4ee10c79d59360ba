from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tachikoma.makima import patience
from tachikoma.makima.patience import LONGEST_WAIT_S, MOST_WAITING, Bucket, Patience, network_of

HERE, THERE = "192.0.2.1", "198.51.100.7"


def waits(patience: Patience, count: int, *, address: str = HERE, at: float = 0) -> list[float]:
    found = []
    for _ in range(count):
        found.append(patience.failed(address, at))
        patience.answered(address)
    return found


def test_the_first_wrong_keys_are_answered_at_once_and_each_later_one_after_twice_the_time() -> (
    None
):
    assert waits(Patience(), 10) == [0, 0, 0, 0.25, 0.5, 1, 2, 4, 8, 8]


def test_who_has_tried_thousands_waits_no_longer_than_the_longest_time() -> None:
    assert waits(Patience(), 3000)[-1] == LONGEST_WAIT_S


def test_the_failures_of_one_address_are_not_another_s() -> None:
    patience = Patience()
    waits(patience, 9)
    assert waits(patience, 1, address=THERE) == [0]


def test_after_ten_quiet_minutes_all_is_forgotten() -> None:
    patience = Patience()
    waits(patience, 9)
    assert waits(patience, 1, at=601) == [0]


def test_while_eight_wait_for_their_answer_nobody_more_from_there_is_heard() -> None:
    patience = Patience()
    for _ in range(MOST_WAITING):
        assert not patience.is_at_an_end(HERE)
        patience.failed(HERE, 0)
    assert patience.is_at_an_end(HERE)
    assert not patience.is_at_an_end(THERE)
    patience.answered(HERE)
    assert not patience.is_at_an_end(HERE)


def test_however_many_addresses_come_only_so_many_are_remembered() -> None:
    tried = Patience()
    for number in range(patience.MOST_ADDRESSES + 500):
        tried.failed(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 0)
        tried.answered(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(tried._addresses) == patience.MOST_ADDRESSES


def test_a_network_of_ipv6_counts_as_one_address() -> None:
    assert network_of("2001:db8:1:2:3::4") == network_of("2001:db8:1:2:ffff::1")
    assert network_of("2001:db8:1:2::4") != network_of("2001:db8:1:3::4")
    assert network_of("::ffff:192.0.2.1") == network_of(HERE)
    assert network_of("fe80::1%eth0") == "fe80::/64"
    assert network_of("not an address") == "not an address"


def test_a_bucket_lets_a_burst_through_and_then_its_rate() -> None:
    bucket = Bucket(rate=10, burst=3, now=0)
    assert [bucket.take(1, 0) for _ in range(5)] == [0, 0, 0, 0.1, 0.2]
    assert bucket.take(1, 10) == 0


def test_a_bucket_tells_for_how_long_it_has_been_asked_for_too_much() -> None:
    bucket = Bucket(rate=1, burst=4, now=0)
    for second in range(20):
        bucket.take(3, second)
    assert bucket.short_for(20) == 19
    bucket.take(0, 100)
    assert bucket.short_for(100) == 0


@given(
    st.lists(st.tuples(st.floats(0.1, 5), st.floats(0, 3)), max_size=60),
    st.floats(0.5, 50),
    st.floats(1, 20),
)
def test_who_waits_as_told_never_gets_more_through_than_rate_and_burst_allow(
    asked: list[tuple[float, float]], rate: float, burst: float
) -> None:
    bucket = Bucket(rate=rate, burst=burst, now=0)
    now = taken = 0.0
    for cost, pause in asked:
        now += bucket.take(cost, now) + pause
        taken += cost
        # The last one may be taken on credit, and is paid for by waiting.
        assert taken <= burst + rate * now + cost + 1e-6
