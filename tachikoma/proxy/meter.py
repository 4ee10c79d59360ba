"""Reading the model and the token counts of an answer while it passes (pure).

The answer is looked at piece by piece and never held back. What cannot be read (an unknown
coding, a document too large, something that is no answer of the API) is not counted, and passes
all the same.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

_LARGEST_DOCUMENT = 4 << 20
_LONGEST_LINE = 1 << 20
_MOST_AT_ONCE = 1 << 18
_LONGEST_MODEL = 80
_MOST_TOKENS = 1 << 40
_COUNTS = frozenset(
    {
        "input_tokens",
        "output_tokens",
        "cache_creation_input_tokens",
        "cache_read_input_tokens",
    }
)
_MODEL = re.compile(r"[\x21-\x7e]+")
_EVENT_STREAM = "text/event-stream"
_JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of one call or of many: read anew, written by the model, to and from the cache."""

    input: int = 0
    output: int = 0
    cache_write: int = 0
    cache_read: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.input + self.output + self.cache_write + self.cache_read

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(
            self.input + other.input,
            self.output + other.output,
            self.cache_write + other.cache_write,
            self.cache_read + other.cache_read,
        )


class Meter:
    """Is fed the body of one answer, as it goes over the wire; knows what it cost so far.

    ``model`` is "" and ``tokens`` None as long as the answer has not told.
    """

    __slots__ = ("_buffer", "_events", "_inflate", "_lost", "_usage", "model")

    def __init__(self, *, content_type: str, coding: str) -> None:
        kind = content_type.partition(";")[0].strip().lower()
        coding = coding.strip().lower()
        self._events = kind == _EVENT_STREAM
        self._lost = kind not in (_EVENT_STREAM, _JSON) or coding not in (
            "",
            "identity",
            "gzip",
            "x-gzip",
            "deflate",
        )
        packed = coding not in ("", "identity")
        self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 32) if packed else None
        self._buffer = b""
        self._usage: dict[str, int] = {}
        self.model = ""

    @property
    def tokens(self) -> Tokens | None:
        """What it cost, as far as the answer has told."""
        if not self._usage:
            return None
        found = self._usage.get
        return Tokens(
            found("input_tokens", 0),
            found("output_tokens", 0),
            found("cache_creation_input_tokens", 0),
            found("cache_read_input_tokens", 0),
        )

    def feed(self, piece: bytes) -> None:
        """Look at the next piece. Never fails."""
        if self._lost:
            return
        if self._inflate is None:
            self._read(piece)
            return
        try:
            while piece and not self._lost:
                self._read(self._inflate.decompress(piece, _MOST_AT_ONCE))
                piece = self._inflate.unconsumed_tail
        except zlib.error:
            self._lose()

    def finish(self) -> None:
        """Look at what only makes sense as a whole."""
        if self._lost:
            return
        if self._inflate is not None:
            self._read(self._inflate.flush(_MOST_AT_ONCE))
        if not self._events:
            self._document(self._buffer)
        self._buffer = b""

    def _read(self, plain: bytes) -> None:
        data = self._buffer + plain if self._buffer else plain
        if not self._events:
            self._buffer = data
            if len(data) > _LARGEST_DOCUMENT:
                self._lose()
            return
        end = data.rfind(b"\n") + 1
        self._buffer = data[end:]
        if data.find(b'"usage"', 0, end) >= 0:
            self._lines(data[:end])
        if len(self._buffer) > _LONGEST_LINE:
            self._lose()

    def _lines(self, data: bytes) -> None:
        for line in data.splitlines():
            if line.startswith(b"data:") and b'"usage"' in line:
                self._document(line[5:])

    def _document(self, raw: bytes) -> None:
        """Take the counts out of a message, or of the events that carry any."""
        try:
            told = json.loads(raw)
        except (ValueError, RecursionError):
            return
        if not isinstance(told, dict):
            return
        match told.get("type"):
            case "message":
                self._message(told)
            case "message_start":
                self._message(told.get("message"))
            case "message_delta":
                self._count(told.get("usage"))
            case _:
                pass

    def _message(self, message: object) -> None:
        if not isinstance(message, dict):
            return
        model = message.get("model")
        if isinstance(model, str) and _MODEL.fullmatch(model[:_LONGEST_MODEL]):
            self.model = model[:_LONGEST_MODEL]
        self._count(message.get("usage"))

    def _count(self, usage: object) -> None:
        """The counts are totals: a later one takes the place of an earlier one."""
        if not isinstance(usage, Mapping):
            return
        for name in _COUNTS:
            count = usage.get(name)
            if isinstance(count, bool) or not isinstance(count, int):
                continue
            if 0 <= count <= _MOST_TOKENS:
                self._usage[name] = count

    def _lose(self) -> None:
        self._lost = True
        self._buffer = b""
