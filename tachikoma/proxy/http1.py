"""HTTP/1.1 as the proxy reads it: strictly, and without any I/O.

Nothing that two readers could understand differently gets through: one request line, one way to
end a line, one way to tell how long a body is. What passes is taken apart here and put together
anew by us, so that the framing of one side never reaches the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from tachikoma.proxy.route import RequestHead

LARGEST_HEAD = 64 << 10
"""Bytes of a head, all of its lines together."""
_MOST_FIELDS = 200
_LONGEST_CHUNK_LINE = 4096
_LONGEST_TRAILERS = 16 << 10
_NO_BODY = frozenset({204, 304})

Headers = Iterable[tuple[str, str]]

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb") ([\x21-\x7e]+) (HTTP/[0-9.]+)")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?")
_FIELD = re.compile(rb"(" + _TOKEN + rb"):[ \t]*([\t\x20-\x7e\x80-\xff]*)")
_CROOKED_END = re.compile(rb"(?<!\r)\n|\r(?!\n)(?!\Z)")
_DIGITS = re.compile(r"[0-9]{1,18}")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})")
_CHUNK_SIZE_AND_MORE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?")
_TOO_LARGE = "the head is larger than the proxy takes"


class Malformed(Exception):
    """A message that is not HTTP as it must be. ``status`` answers it if it was a request."""

    def __init__(self, why: str, status: int = 400) -> None:
        super().__init__(why)
        self.why = why
        self.status = status


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """The head of an answer. ``persistent`` tells whether its connection may be used again."""

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]
    persistent: bool


class Body:
    """A body that is being read; ``done`` once its end was seen.

    ``length`` is its size in bytes where that is known beforehand.
    """

    __slots__ = ("done", "length")

    def __init__(self, length: int | None) -> None:
        self.length = length
        self.done = length == 0

    def take(self, data: bytes) -> tuple[list[bytes], bytes]:
        """Give what of ``data`` is of this body, without framing, and what comes after it.

        Raises:
            Malformed: the framing is broken.
        """
        raise NotImplementedError

    def ends_with_connection(self) -> bool:
        """Tell whether an end of the connection, now, is the proper end of this body."""
        return False


class Sized(Body):
    """A body of a length that was told."""

    __slots__ = ("_left",)

    def __init__(self, length: int) -> None:
        super().__init__(length)
        self._left = length

    def take(self, data: bytes) -> tuple[list[bytes], bytes]:
        """Give what belongs to it."""
        if len(data) <= self._left:
            self._left -= len(data)
            self.done = not self._left
            return ([data] if data else []), b""
        left, self._left, self.done = self._left, 0, True
        return ([data[:left]] if left else []), data[left:]


class Unbounded(Body):
    """A body that goes on until the connection ends."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(None)

    def take(self, data: bytes) -> tuple[list[bytes], bytes]:
        """Everything belongs to it."""
        return ([data] if data else []), b""

    def ends_with_connection(self) -> bool:
        """Say yes: nothing else ends it."""
        return True


class Chunked(Body):
    """A body in chunks. With ``strict`` neither extensions nor trailers are taken."""

    __slots__ = ("_held", "_left", "_size_line", "_strict", "_trailers")

    def __init__(self, *, strict: bool) -> None:
        super().__init__(None)
        self._strict = strict
        self._size_line = _CHUNK_SIZE if strict else _CHUNK_SIZE_AND_MORE
        self._left = 0  # of the chunk at hand, with the line end behind it
        self._held = b""  # a line, or a line end, of which only the beginning is there
        self._trailers = -1  # bytes of trailers seen; -1 before them

    def take(self, data: bytes) -> tuple[list[bytes], bytes]:
        """Give what the chunks hold."""
        pieces: list[bytes] = []
        data, self._held = self._held + data if self._held else data, b""
        at = 0
        while not self.done:
            if self._left:
                at = self._of_chunk(data, at, pieces)
                if self._left:
                    return pieces, b""
                continue
            end = data.find(b"\r\n", at)
            if end < 0:
                self._hold(data[at:])
                return pieces, b""
            self._line(data[at:end])
            at = end + 2
        return pieces, data[at:]

    def _of_chunk(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        """Take what there is of the chunk at hand; gives where the rest begins."""
        available = len(data) - at
        if available >= self._left:  # with its line end
            stop = at + self._left
            if data[stop - 2 : stop] != b"\r\n":
                raise Malformed("a chunk does not end where its size says")
            if self._left > 2:
                pieces.append(data[at : stop - 2])
            self._left = 0
            return stop
        usable = min(available, self._left - 2)
        if usable > 0:
            pieces.append(data[at : at + usable])
            self._left -= usable
            at += usable
        self._held = data[at:]
        if self._held and self._held != b"\r":
            raise Malformed("a chunk does not end where its size says")
        return len(data)

    def _line(self, line: bytes) -> None:
        if self._trailers >= 0:
            self._trailer(line)
            return
        size = self._size_line.fullmatch(line)
        if size is None:
            raise Malformed("the size of a chunk is no plain number")
        length = int(size[1], 16)
        if length:
            self._left = length + 2
        else:
            self._trailers = 0

    def _trailer(self, line: bytes) -> None:
        if not line:
            self.done = True
            return
        self._trailers += len(line) + 2
        if self._strict or self._trailers > _LONGEST_TRAILERS:
            raise Malformed("trailers are not taken")

    def _hold(self, rest: bytes) -> None:
        if len(rest) > _LONGEST_CHUNK_LINE or b"\n" in rest:
            raise Malformed("the size of a chunk is no plain number")
        self._held = rest


def end_of_head(data: bytes | bytearray, *, seen: int = 0) -> int:
    """Tell where the head ends with which ``data`` begins; 0 while that cannot be seen yet.

    ``seen`` bytes of it were looked at before.

    Raises:
        Malformed: it is too large, or has line ends other than CR LF.
    """
    begin = max(0, seen - 3)
    end = data.find(b"\r\n\r\n", begin, LARGEST_HEAD)
    if end >= 0:
        return end + 4
    if _CROOKED_END.search(data, begin, LARGEST_HEAD):
        raise Malformed("a line ends in something other than CR LF")
    if len(data) >= LARGEST_HEAD:
        raise Malformed(_TOO_LARGE, 431)
    return 0


def parse_request(head: bytes) -> tuple[RequestHead, Body]:
    """Read the head of a request, up to and with its empty line.

    Raises:
        Malformed: it is not HTTP/1.1 as strict readers know it.
    """
    first, lines = _lines(head)
    given = _REQUEST_LINE.fullmatch(first)
    if given is None:
        raise Malformed("the request line is not METHOD TARGET VERSION")
    if given[3] != b"HTTP/1.1":
        raise Malformed("only HTTP/1.1 is spoken here", 505)
    headers = _fields(lines)
    hosts = sum(name.lower() == "host" for name, _ in headers)
    if hosts != 1:
        raise Malformed("there must be exactly one Host header")
    return RequestHead(given[1].decode("ascii"), given[2].decode("ascii"), headers), _framed(
        headers, strict=True
    ) or Sized(0)


def parse_response(head: bytes, *, method: str) -> tuple[ResponseHead, Body]:
    """Read the head of the answer to a request of that ``method``.

    Raises:
        Malformed: it is no HTTP/1 answer that can be understood in one way only.
    """
    first, lines = _lines(head)
    given = _STATUS_LINE.fullmatch(first)
    if given is None:
        raise Malformed("the status line is not HTTP/1")
    status = int(given[2])
    headers = _fields(lines)
    options = connection_options(headers)
    persistent = given[1] == b"1" and "close" not in options
    body = _framed(headers, strict=False)
    if method == "HEAD" or status in _NO_BODY or status < 200:
        body = Sized(0)
    elif body is None:
        body, persistent = Unbounded(), False
    reason = (given[3] or b"").decode("latin-1")
    return ResponseHead(status, reason, headers, persistent), body


def connection_options(headers: Headers) -> set[str]:
    """Give what the Connection headers list, in lower case."""
    return {
        option.strip().lower()
        for name, value in headers
        if name.lower() == "connection"
        for option in value.split(",")
        if option.strip()
    }


def encode_head(first: str, headers: Headers) -> bytes:
    """Put a head together.

    Raises:
        Malformed: something in it would end its line.
    """
    lines = [first, *(f"{name}: {value}" for name, value in headers)]
    text = "\r\n".join(lines)
    if text.count("\n") != len(lines) - 1 or text.count("\r") != len(lines) - 1 or "\0" in text:
        raise Malformed("a header holds a line end")
    return f"{text}\r\n\r\n".encode("latin-1", "replace")


def chunk(piece: bytes) -> bytes:
    """Give ``piece`` as a chunk."""
    return b"%x\r\n%b\r\n" % (len(piece), piece)


LAST_CHUNK = b"0\r\n\r\n"


def _lines(head: bytes) -> tuple[bytes, list[bytes]]:
    if len(head) > LARGEST_HEAD:
        raise Malformed(_TOO_LARGE, 431)
    first, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    if len(lines) > _MOST_FIELDS:
        raise Malformed("there are too many headers", 431)
    return first, lines


def _fields(lines: list[bytes]) -> tuple[tuple[str, str], ...]:
    fields = []
    for line in lines:
        given = _FIELD.fullmatch(line)
        if given is None:
            folded = line[:1] in (b" ", b"\t")
            raise Malformed("a header is folded" if folded else "a header is not NAME: VALUE")
        fields.append((given[1].decode("ascii"), given[2].decode("latin-1").rstrip(" \t")))
    return tuple(fields)


def _framed(headers: tuple[tuple[str, str], ...], *, strict: bool) -> Body | None:
    """Give the body as the headers tell its length; None if they do not."""
    lengths = [value for name, value in headers if name.lower() == "content-length"]
    codings = [value for name, value in headers if name.lower() == "transfer-encoding"]
    if codings:
        if lengths:
            raise Malformed("the body has both a length and chunks")
        if len(codings) > 1 or codings[0].lower() != "chunked":
            raise Malformed("the only transfer coding is chunked", 501 if strict else 400)
        return Chunked(strict=strict)
    if not lengths:
        return None
    if len(lengths) > 1:
        raise Malformed("the body has two lengths")
    if _DIGITS.fullmatch(lengths[0]) is None:
        raise Malformed("the length of the body is no plain number")
    return Sized(int(lengths[0]))
