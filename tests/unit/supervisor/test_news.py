from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tachikoma.supervisor.news import News

BOX = ["──────", "> ask me", "──────"]


def told(*looks: list[str] | None) -> list[list[str]]:
    news = News()
    return [news.take(look) for look in looks]


def test_a_line_is_told_when_it_has_settled_and_once() -> None:
    assert told(["one"], ["one"], None, ["one", "two"], None, None) == [
        [],
        ["one"],
        [],
        [],
        ["two"],
        [],
    ]


def test_what_turns_and_turns_is_not_told_until_it_rests() -> None:
    looks = [["start", f"thinking {number} s"] for number in range(9)]
    assert told(*looks, ["start", "done"], None) == [[], ["start"], *[[]] * 8, ["done"]]


def test_a_box_at_the_bottom_is_told_once() -> None:
    looks: list[list[str] | None] = []
    for end in range(1, 5):
        looks += [[*[f"line {number}" for number in range(end)], *BOX], None]
    flat = [line for lines in told(*looks) for line in lines]
    assert flat == ["line 0", "> ask me", "line 1", "line 2", "line 3"]


def test_a_box_that_is_gone_for_a_moment_is_not_told_again() -> None:
    looks = [["one", *BOX], None, ["one", "busy"], None, ["one", *BOX], None]
    assert [line for lines in told(*looks) for line in lines] == ["one", "> ask me", "busy"]


def test_equal_lines_are_told_as_often_as_they_are_said() -> None:
    looks = [["ok"], None, ["ok", "ok"], None, ["ok", "ok", "end"], None]
    assert [line for lines in told(*looks) for line in lines] == ["ok", "ok", "end"]


def test_what_scrolls_out_of_sight_is_not_told_again() -> None:
    lines = [f"line {number}" for number in range(60)]
    looks: list[list[str] | None] = []
    for end in range(10, 60, 5):
        looks += [lines[max(0, end - 20) : end], None]
    assert [line for told_now in told(*looks) for line in told_now] == lines[:55]


@given(st.lists(st.none() | st.lists(st.sampled_from("abcd-"), max_size=6), max_size=8))
def test_only_lines_that_say_something_and_were_seen_are_told(
    looks: list[list[str] | None],
) -> None:
    seen = {line for look in looks for line in look or ()}
    flat = [line for lines in told(*looks) for line in lines]
    assert set(flat) <= seen - {"-"}
