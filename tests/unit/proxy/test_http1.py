from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tachikoma.proxy.http1 import (
    LARGEST_HEAD,
    LAST_CHUNK,
    Body,
    Chunked,
    Malformed,
    ResponseHead,
    Sized,
    Unbounded,
    chunk,
    encode_head,
    end_of_head,
    parse_request,
    parse_response,
)
from tachikoma.proxy.route import RequestHead


def request(*lines: str, first: str = "POST /v1/messages HTTP/1.1", host: str = "Host: p") -> bytes:
    return "\r\n".join([first, *([host] if host else []), *lines, "", ""]).encode("latin-1")


def test_a_request_is_read_as_it_stands() -> None:
    head, body = parse_request(request("x-api-key:\t k \t", "X-Empty:", "Content-Length: 5"))
    assert head == RequestHead(
        "POST",
        "/v1/messages",
        (("Host", "p"), ("x-api-key", "k"), ("X-Empty", ""), ("Content-Length", "5")),
    )
    assert (body.length, body.done) == (5, False)
    assert parse_request(request())[1].done
    assert parse_request(request("Transfer-Encoding: Chunked"))[1].length is None


CROOKED = [
    (request("Content-Length: 5", "Content-Length: 5"), 400),
    (request("Content-Length: 5", "Content-Length: 6"), 400),
    (request("Content-Length: 5, 5"), 400),
    (request("Content-Length: +5"), 400),
    (request("Content-Length: -5"), 400),
    (request("Content-Length: 0x5"), 400),
    (request("Content-Length: 5 5"), 400),
    (request("Content-Length:"), 400),
    (request("Content-Length: 1" + "0" * 30), 400),
    (request("Content-Length: \xb2"), 400),
    (request("Content-Length: 5", "Transfer-Encoding: chunked"), 400),
    (request("Transfer-Encoding: chunked", "content-length: 0"), 400),
    (request("Transfer-Encoding: gzip, chunked"), 501),
    (request("Transfer-Encoding: chunked, identity"), 501),
    (request("Transfer-Encoding: identity"), 501),
    (request("Transfer-Encoding: xchunked"), 501),
    (request("Transfer-Encoding:"), 501),
    (request("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), 501),
    (request("Transfer-Encoding : chunked"), 400),
    (request("Transfer\tEncoding: chunked"), 400),
    (request("X-Folded: a", " b"), 400),
    (request("X-Folded: a", "\tb"), 400),
    (request(" X-First: folded"), 400),
    (request("no colon"), 400),
    (request(": no name"), 400),
    (request("X Space: a"), 400),
    (request("X-Null: a\x00b"), 400),
    (request("X-Return: a\rb"), 400),
    (request("X-Feed: a\nContent-Length: 5"), 400),
    (request("X-Bell: \x07"), 400),
    (request("X-N\xe4me: a"), 400),
    (request(host=""), 400),
    (request("Host: q"), 400),
    (request("host: p"), 400),
    (request(first="POST /v1/messages HTTP/1.0"), 505),
    (request(first="POST /v1/messages HTTP/2.0"), 505),
    (request(first="POST /v1/messages HTTP/1.1 "), 400),
    (request(first="POST /v1/messages"), 400),
    (request(first="POST  /v1/messages HTTP/1.1"), 400),
    (request(first=" POST /v1/messages HTTP/1.1"), 400),
    (request(first="POST\t/v1/messages HTTP/1.1"), 400),
    (request(first="POST /v1/mess ages HTTP/1.1"), 400),
    (request(first="POST /v1/mess\xe4ges HTTP/1.1"), 400),
    (request(first="POST /v1/messages http/1.1"), 400),
    (request(first="PO(ST /v1/messages HTTP/1.1"), 400),
    (request(first=""), 400),
    (request(*(f"X-{number}: a" for number in range(300))), 431),
]


@pytest.mark.parametrize(("raw", "status"), CROOKED)
def test_what_two_readers_could_read_differently_is_refused(raw: bytes, status: int) -> None:
    with pytest.raises(Malformed) as caught:
        parse_request(raw)
    assert caught.value.status == status


@pytest.mark.parametrize(
    "begin", [b"GET / HTTP/1.1\nHost: p\n\n", b"GET / HTTP/1.1\r\nHost: p\n", b"GET / HTTP/1.1\rX"]
)
def test_a_line_that_ends_in_anything_but_both_is_noticed_at_once(begin: bytes) -> None:
    with pytest.raises(Malformed, match="CR LF"):
        end_of_head(begin)


def test_the_end_of_a_head_is_found_however_it_comes() -> None:
    raw = request("X: y")
    for cut in range(len(raw)):
        assert end_of_head(raw[:cut], seen=max(0, cut - 1)) == 0
    assert end_of_head(raw + b"body", seen=len(raw) - 1) == len(raw)


def test_a_head_without_end_is_refused() -> None:
    assert end_of_head(b"x" * (LARGEST_HEAD - 1)) == 0
    with pytest.raises(Malformed) as caught:
        end_of_head(b"x" * LARGEST_HEAD)
    assert caught.value.status == 431


# Bodies


def taken(body: Body, raw: bytes, step: int) -> tuple[bytes, bytes]:
    """Feed ``raw`` in pieces of ``step``; gives the content, and what came after the body."""
    content, rest, at = b"", b"", 0
    while at < len(raw) and not body.done:
        pieces, rest = body.take(raw[at : at + step])
        content += b"".join(pieces)
        at += step
    return content, rest + raw[at:]


CHUNKS = chunk(b"a") + chunk(b"bcd" * 10) + chunk(b"\r\n0\r\n") + LAST_CHUNK


@pytest.mark.parametrize("step", [1, 2, 3, 5, 8, 13, 1000])
@pytest.mark.parametrize("strict", [True, False])
def test_chunks_are_put_together_however_they_come(step: int, strict: bool) -> None:
    content = b"a" + b"bcd" * 10 + b"\r\n0\r\n"
    assert taken(Chunked(strict=strict), CHUNKS + b"GET /", step) == (content, b"GET /")


@pytest.mark.parametrize("step", [1, 4, 1000])
def test_a_sized_body_ends_where_it_was_said_to(step: int) -> None:
    assert taken(Sized(5), b"12345GET /", step) == (b"12345", b"GET /")


def test_a_body_without_length_ends_with_the_connection() -> None:
    body = Unbounded()
    assert body.take(b"abc") == ([b"abc"], b"")
    assert (body.done, body.ends_with_connection()) == (False, True)
    assert not Sized(3).ends_with_connection()


@pytest.mark.parametrize(
    "raw",
    [
        b"5\nhello\r\n",
        b"+5\r\nhello\r\n",
        b"0x5\r\nhello\r\n",
        b"-1\r\n",
        b"\r\nhello",
        b" 5\r\nhello\r\n",
        b"5 \r\nhello\r\n",
        b"5;a=b\r\nhello\r\n",
        b"5\r\nhelloX\r\n",
        b"5\r\nhello\n0\r\n",
        b"5\r\nhello\r0\r\n",
        b"g\r\n",
        b"1" * 20 + b"\r\n",
        b"0\r\nX-Trailer: a\r\n\r\n",
        b"0\r\nContent-Length: 5\r\n\r\n",
        b"1" * 5000,
    ],
)
@pytest.mark.parametrize("step", [1, 1000])
def test_crooked_chunks_are_refused(raw: bytes, step: int) -> None:
    with pytest.raises(Malformed):
        taken(Chunked(strict=True), raw + b"\r\n0\r\n\r\n", step)


def test_an_answer_may_have_extensions_and_trailers_and_loses_them() -> None:
    raw = b"5;a=b\r\nhello\r\n0\r\nX-Trailer: a\r\n\r\n"
    assert taken(Chunked(strict=False), raw, 3) == (b"hello", b"")


# Answers


def answer(*lines: str, first: str = "HTTP/1.1 200 OK", method: str = "GET") -> tuple[object, Body]:
    return parse_response("\r\n".join([first, *lines, "", ""]).encode("latin-1"), method=method)


def test_an_answer_tells_how_its_body_ends_and_whether_more_may_follow() -> None:
    assert answer("Content-Length: 3")[0] == ResponseHead(
        200, "OK", (("Content-Length", "3"),), persistent=True
    )
    assert isinstance(answer("Transfer-Encoding: chunked")[1], Chunked)
    head, body = answer("X: y")
    assert isinstance(body, Unbounded)
    assert isinstance(head, ResponseHead)
    assert not head.persistent
    for first, lines in (("HTTP/1.0 200 OK", ()), ("HTTP/1.1 200 OK", ("Connection: Close",))):
        head, _ = answer("Content-Length: 3", *lines, first=first)
        assert isinstance(head, ResponseHead)
        assert not head.persistent


@pytest.mark.parametrize(
    ("first", "method"),
    [("HTTP/1.1 204 No", "GET"), ("HTTP/1.1 304 No", "GET"), ("HTTP/1.1 200", "HEAD")],
)
def test_some_answers_have_no_body_whatever_they_say(first: str, method: str) -> None:
    assert answer("Content-Length: 3", first=first, method=method)[1].done


@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Length: 3", "Content-Length: 4"),
        ("Content-Length: 3", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: gzip",),
        ("broken",),
    ],
)
def test_a_crooked_answer_is_refused_too(lines: tuple[str, ...]) -> None:
    with pytest.raises(Malformed):
        answer(*lines)
    with pytest.raises(Malformed):
        answer(first="HTTP/2 200 OK")


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\nb", "a\rb", "a\0b"])
def test_nothing_that_ends_a_line_gets_into_a_head(value: str) -> None:
    with pytest.raises(Malformed):
        encode_head("GET / HTTP/1.1", [("X", value)])


# Fuzzing

PIECES = st.sampled_from(
    [
        *(b"GET", b" ", b"/", b"HTTP/1.1", b"\r\n", b"\n", b"\r", b":", b"Host: p", b"\t", b"a"),
        *(b"Content-Length: 3", b"Transfer-Encoding: chunked", b"\xff", b"3", b"\x00"),
    ]
)


@given(st.lists(st.one_of(PIECES, st.binary(max_size=4)), max_size=30).map(b"".join))
def test_no_head_makes_the_reader_fail_or_smuggles_anything(raw: bytes) -> None:
    with contextlib.suppress(Malformed):
        end = end_of_head(raw)
        if end:
            head, body = parse_request(raw[:end])
            again = encode_head(f"{head.method} {head.target} HTTP/1.1", head.headers)
            assert parse_request(again)[0] == head
            assert again.count(b"\r\n\r\n") == 1
            names = [name.lower() for name, _ in head.headers]
            assert names.count("host") == 1
            assert names.count("content-length") + names.count("transfer-encoding") <= 1
            assert (body.length is None) == ("transfer-encoding" in names)


@given(st.binary(max_size=200), st.lists(st.integers(1, 50), max_size=10), st.booleans())
def test_what_is_chunked_comes_out_again_however_it_is_cut(
    content: bytes, sizes: list[int], strict: bool
) -> None:
    raw, rest = b"", content
    for size in [*sizes, len(content) or 1]:
        raw += chunk(rest[:size]) if rest[:size] else b""
        rest = rest[size:]
    for step in (1, 7, 1000):
        assert taken(Chunked(strict=strict), raw + LAST_CHUNK, step)[0] == content


@given(st.lists(st.one_of(PIECES, st.binary(max_size=4)), max_size=30).map(b"".join), st.booleans())
def test_no_chunks_make_the_reader_fail(raw: bytes, strict: bool) -> None:
    for step in (1, 3, 1000):
        with contextlib.suppress(Malformed):
            content, _ = taken(Chunked(strict=strict), raw, step)
            assert len(content) <= len(raw)
