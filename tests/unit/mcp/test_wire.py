from __future__ import annotations

import json

import mcp_types as types
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tachikoma.mcp.wire import LONGEST, Line, Refusal, Splitter, TooLong, decode, id_of


def refused(data: bytes) -> tuple[str | int | None, int]:
    answer = decode(Line(data))
    assert isinstance(answer, Refusal)
    return answer.answer.id, answer.answer.error.code


def split(data: bytes, *, pieces: int, longest: int = LONGEST) -> list[Line | TooLong]:
    splitter = Splitter(longest)
    parts = [data[at : at + pieces] for at in range(0, len(data), pieces)]
    return [line for part in parts for line in splitter.feed(part)] + list(splitter.close())


def long_request(request: object, *, id_first: bool) -> TooLong:
    """A call with a large argument, of which only the edges were kept."""
    params = {"name": "write_file", "arguments": {"content": 'a","id":99}' * 5000, "id": 98}}
    rest = {"jsonrpc": "2.0", "method": "tools/call", "params": params}
    message = {"id": request, **rest} if id_first else {**rest, "id": request}
    (found,) = split(json.dumps(message).encode(), pieces=1000, longest=1000)
    assert isinstance(found, TooLong)
    return found


@given(st.lists(st.binary(max_size=20).filter(lambda each: b"\n" not in each)), st.integers(1, 9))
def test_lines_are_found_however_the_stream_is_cut(lines: list[bytes], pieces: int) -> None:
    found = split(b"".join(line + b"\n" for line in lines), pieces=pieces)
    assert found == [Line(line.strip()) for line in lines if line.strip()]


def test_a_last_line_without_an_end_counts() -> None:
    assert split(b"a\nb", pieces=1) == [Line(b"a"), Line(b"b")]


def test_a_line_that_is_too_long_is_not_held_and_the_next_one_is_whole() -> None:
    found = split(b"x" * 50_000 + b"\nnext\n", pieces=777, longest=100)
    assert found[1] == Line(b"next")
    assert isinstance(found[0], TooLong)
    assert (found[0].size, len(found[0].head) <= 4096, len(found[0].tail)) == (50_000, True, 4096)


@pytest.mark.parametrize("request_id", [7, -1, "seven", ""])
@pytest.mark.parametrize("id_first", [True, False])
def test_the_id_of_a_long_request_is_found_wherever_it_stands(
    request_id: object, *, id_first: bool
) -> None:
    line = long_request(request_id, id_first=id_first)
    assert id_of(line) == request_id
    answer = decode(line)
    assert isinstance(answer, Refusal)
    assert answer.answer.id == request_id
    assert f"{line.size} bytes is too long" in answer.answer.error.message


def test_an_id_within_the_arguments_is_not_taken_for_that_of_the_request() -> None:
    text = '{"jsonrpc":"2.0","params":{"x":"' + "y" * 9000 + '","z":{},"id":98}}'
    (line,) = split(text.encode(), pieces=9, longest=10)
    assert isinstance(line, TooLong)
    assert id_of(line) is None


@given(st.binary(max_size=60))
def test_whatever_arrives_is_a_message_or_answered(data: bytes) -> None:
    assert decode(Line(data.replace(b"\n", b" "))) is not None


@pytest.mark.parametrize(
    ("data", "answered"),
    [
        (b"nope", (None, types.PARSE_ERROR)),
        (b'{"jsonrpc":"2.0","id":1', (None, types.PARSE_ERROR)),
        (b"\xff\xfe", (None, types.PARSE_ERROR)),
        (b"[" * 100_000, (None, types.PARSE_ERROR)),
        (b"[]", (None, types.INVALID_REQUEST)),
        (b"7", (None, types.INVALID_REQUEST)),
        (b'{"id":4,"method":"tools/list"}', (4, types.INVALID_REQUEST)),
        (b'{"jsonrpc":"1.0","id":"a","method":"x"}', ("a", types.INVALID_REQUEST)),
        (b'{"jsonrpc":"2.0","id":[1],"result":7}', (None, types.INVALID_REQUEST)),
    ],
)
def test_what_is_no_message_is_answered(data: bytes, answered: tuple[object, int]) -> None:
    assert refused(data) == answered


def test_a_message_is_decoded() -> None:
    message = decode(Line(b'{"jsonrpc":"2.0","id":3,"method":"tools/list"}'))
    assert isinstance(message, types.JSONRPCRequest)
    assert (message.id, message.method) == (3, "tools/list")
