from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tachikoma.makima.window import Window


def test_an_answer_says_that_all_before_its_ping_is_there() -> None:
    window = Window(most=3)
    first, second, third = (window.ping(sent) for sent in (10, 20, 20))
    assert (window.delivered, window.full, window.empty) == (0, True, False)
    window.pong(first)
    assert (window.delivered, window.full) == (10, False)
    window.pong(third)
    assert (window.delivered, window.empty) == (20, True)
    window.pong(second)
    assert window.delivered == 20


def test_an_answer_may_skip_pings_before_it() -> None:
    window = Window(most=3)
    window.ping(10)
    window.pong(window.ping(20))
    assert (window.delivered, window.empty) == (20, True)


@given(st.lists(st.binary(max_size=30) | st.sampled_from([b"0", b"-1", b"99", "\u0661".encode()])))
def test_what_answers_no_ping_says_nothing(answers: list[bytes]) -> None:
    window = Window(most=1)
    for answer in answers:
        window.pong(answer)
    assert window.delivered == 0
    carried = window.ping(7)
    for answer in answers:
        if answer.isdigit() and int(answer) == int(carried):
            continue
        window.pong(answer)
    assert window.delivered == 0
    assert window.full
