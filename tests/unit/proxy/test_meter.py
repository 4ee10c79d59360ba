from __future__ import annotations

import gzip
import itertools
import json
import zlib
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tachikoma.proxy.meter import Meter, Tokens

START = {
    "type": "message_start",
    "message": {
        "type": "message",
        "model": "claude-opus-4-8",
        "usage": {
            "input_tokens": 25,
            "cache_creation_input_tokens": 7,
            "cache_read_input_tokens": 300,
            "output_tokens": 1,
        },
    },
}
WORDS = {"type": "content_block_delta", "delta": {"text": 'says "usage" {"output_tokens": 999}'}}
DELTA = {"type": "message_delta", "usage": {"output_tokens": 42}}
WHOLE = {"type": "message", "model": "m", "usage": {"input_tokens": 3, "output_tokens": 4}}


def events(*told: object) -> bytes:
    return b"".join(f"event: x\ndata: {json.dumps(each)}\n\n".encode() for each in told)


def read(body: bytes, *, kind: str = "text/event-stream", coding: str = "", step: int = 0) -> Meter:
    meter = Meter(content_type=kind, coding=coding)
    for at in range(0, len(body), step or max(len(body), 1)):
        meter.feed(body[at : at + (step or len(body))])
    meter.finish()
    return meter


@pytest.mark.parametrize("step", [0, 1, 3, 7, 100])
@pytest.mark.parametrize(
    ("pack", "coding"),
    [(bytes, ""), (bytes, "identity"), (gzip.compress, "gzip"), (zlib.compress, "deflate")],
)
def test_a_stream_is_counted_in_whatever_pieces_it_comes(
    pack: Callable[[bytes], bytes], coding: str, step: int
) -> None:
    meter = read(pack(events(START, WORDS, DELTA)), coding=coding, step=step)
    assert meter.model == "claude-opus-4-8"
    assert meter.tokens == Tokens(25, 42, 7, 300)


@pytest.mark.parametrize("coding", ["", "gzip"])
def test_a_whole_message_is_counted(coding: str) -> None:
    body = json.dumps(WHOLE).encode()
    meter = read(
        gzip.compress(body) if coding else body,
        kind="application/json; charset=utf-8",
        coding=coding,
        step=5,
    )
    assert (meter.model, meter.tokens) == ("m", Tokens(3, 4))


def test_a_stream_that_breaks_off_is_counted_as_far_as_it_came() -> None:
    meter = Meter(content_type="text/event-stream", coding="")
    meter.feed(events(START))
    assert meter.tokens == Tokens(25, 1, 7, 300)


@pytest.mark.parametrize(
    ("body", "kind", "coding"),
    [
        (b"", "text/event-stream", ""),
        (b"not gzip", "text/event-stream", "gzip"),
        (events(START), "text/event-stream", "br"),
        (events(START), "text/html", ""),
        (json.dumps(WHOLE).encode()[:-1], "application/json", ""),
        (b"[1]", "application/json", ""),
        (b'{"type":"message","usage":{"input_tokens":-1}}', "application/json", ""),
        (b'{"type":"message","usage":{"input_tokens":true}}', "application/json", ""),
        (b'{"type":"message","usage":[]}', "application/json", ""),
        (b'{"type":"message","usage":{"input_tokens":1e300}}', "application/json", ""),
        (b'{"type":"message_start","usage":1}', "application/json", ""),
        (b"[" * 100_000, "application/json", ""),
        (events(WORDS), "text/event-stream", ""),
    ],
)
def test_what_tells_no_counts_is_not_counted(body: bytes, kind: str, coding: str) -> None:
    meter = read(body, kind=kind, coding=coding)
    assert (meter.model, meter.tokens) == ("", None)


def test_a_document_without_end_is_let_go() -> None:
    meter = Meter(content_type="application/json", coding="")
    for _ in range(80):
        meter.feed(b"x" * (1 << 16))
    assert meter._buffer == b""
    line = Meter(content_type="text/event-stream", coding="gzip")
    line.feed(gzip.compress(b"x" * (8 << 20)))
    assert line._buffer == b""


def test_a_model_with_odd_characters_is_no_model() -> None:
    told = {"type": "message", "model": "a\nb", "usage": {"input_tokens": 1}}
    assert read(json.dumps(told).encode(), kind="application/json").model == ""


def cut(body: bytes, at: list[int]) -> Iterator[bytes]:
    places = [0, *sorted(place % (len(body) + 1) for place in at), len(body)]
    return (body[a:b] for a, b in itertools.pairwise(places))


@given(st.lists(st.integers(min_value=0), max_size=8), st.booleans())
def test_where_it_is_cut_makes_no_difference(at: list[int], packed: bool) -> None:
    body = events(START, WORDS, DELTA)
    body = gzip.compress(body) if packed else body
    meter = Meter(content_type="text/event-stream", coding="gzip" if packed else "")
    for piece in cut(body, at):
        meter.feed(piece)
    meter.finish()
    assert meter.tokens == Tokens(25, 42, 7, 300)


@given(st.binary(), st.sampled_from(["", "gzip", "deflate"]), st.booleans())
def test_nothing_that_passes_makes_it_fail(body: bytes, coding: str, stream: bool) -> None:
    read(body, kind="text/event-stream" if stream else "application/json", coding=coding)
