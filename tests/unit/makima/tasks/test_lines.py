from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tachikoma.makima.tasks.lines import LONGEST_PIECE, Rest, lines_of
from tachikoma.makima.tasks.port import Line


def test_lines_are_taken_and_the_rest_stays() -> None:
    assert lines_of(b"one\r\n\ntwo\nth", rest=Rest.STAYS) == (
        [Line("one"), Line(""), Line("two")],
        10,
    )


def test_the_rest_is_the_last_line_when_there_will_be_no_more() -> None:
    assert lines_of(b"one\ntwo\xc3", rest=Rest.IS_LAST) == ([Line("one"), Line("two\ufffd")], 8)
    assert lines_of(b"one\n", rest=Rest.IS_LAST) == ([Line("one")], 4)


def test_a_rest_that_is_handed_on_ends_with_a_whole_character() -> None:
    assert lines_of("? ü".encode()[:-1], rest=Rest.IS_PARTIAL) == ([Line("? ", partial=True)], 2)
    assert lines_of(b"\xc3", rest=Rest.IS_PARTIAL) == ([], 0)
    assert lines_of(b"", rest=Rest.IS_PARTIAL, stderr=True) == ([], 0)


def test_what_is_no_text_is_replaced() -> None:
    assert lines_of(b"\xff\xfe\xc3\n\x80\n", rest=Rest.STAYS) == (
        [Line("\ufffd\ufffd\ufffd"), Line("\ufffd")],
        6,
    )


def test_a_long_line_comes_in_pieces_that_split_no_character() -> None:
    text = "ü" * LONGEST_PIECE + "x"
    lines, taken = lines_of(b"a" + text.encode() + b"\nb\n", rest=Rest.STAYS, stderr=True)
    assert taken == len(text.encode()) + 4
    assert [line.partial for line in lines] == [True, True, False, False]
    assert "".join(line.text for line in lines[:3]) == "a" + text
    assert all(len(line.text.encode()) <= LONGEST_PIECE for line in lines)
    assert lines[3] == Line("b", stderr=True)


@pytest.mark.parametrize("rest", list(Rest))
@given(
    data=st.lists(
        st.sampled_from([b"\n", b"a", b"\xc3\xbc", "🦀".encode(), b"\xf0\x9f", b"\xff", b"\x80"])
    ).map(b"".join)
)
def test_nothing_is_lost_whatever_the_bytes_are(data: bytes, rest: Rest) -> None:
    lines, taken = lines_of(data, rest=rest)
    text = "".join(line.text + ("" if line.partial else "\n") for line in lines)
    wanted = data[:taken].decode("utf-8", "replace")
    assert text.removesuffix("\n") == wanted.removesuffix("\n")
    assert rest is not Rest.IS_LAST or taken == len(data)
    assert rest is not Rest.IS_PARTIAL or len(data) - taken < 4


@given(cut=st.integers(0, 40), text=st.text(max_size=20))
def test_a_line_is_the_same_wherever_it_was_cut(cut: int, text: str) -> None:
    data = text.replace("\n", " ").replace("\r", " ").encode() + b"\n"
    first, taken = lines_of(data[:cut], rest=Rest.IS_PARTIAL)
    second, _ = lines_of(data[taken:], rest=Rest.STAYS)
    assert "".join(line.text for line in (*first, *second)).encode() + b"\n" == data
