"""Bytes of standard input into messages (pure): lines, and what is answered to a bad one.

A message is one line. One that is longer than ``LONGEST`` is never held: its first and last
bytes are kept, which is where its id stands, so that whoever waits for the answer gets one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

import mcp_types as types
from pydantic import ValidationError

LONGEST = 8 << 20
"""Bytes of one message; larger things are shared through the worktree, or read in parts."""

_EDGE = 4096
_WORD = r'"(?:jsonrpc|method)"\s*:\s*"[^"\\]*"'
_ID = r'"id"\s*:\s*(-?\d{1,18}|"[^"\\]{0,256}")'
_ID_FIRST = re.compile(rf"\s*\{{\s*(?:{_WORD}\s*,\s*)*{_ID}\s*[,}}]")
# Behind the parameters: what follows closes the message itself, so it is no deeper "id", and a
# quote within a string would have a backslash before it.
_ID_LAST = re.compile(rf"[}}\]]\s*(?:,\s*{_WORD}\s*)*,\s*{_ID}\s*(?:,\s*{_WORD}\s*)*\}}\s*$")


@dataclass(frozen=True, slots=True)
class Line:
    """A whole line, without its end."""

    data: bytes


@dataclass(frozen=True, slots=True)
class TooLong:
    """A line of ``size`` bytes that was not kept; ``head`` and ``tail`` are its edges."""

    size: int
    head: bytes
    tail: bytes


@dataclass(frozen=True, slots=True)
class Refusal:
    """The answer to a line that holds no message."""

    answer: types.JSONRPCError


class Splitter:
    """Cuts a stream of bytes into lines and holds no more than ``longest`` of any."""

    def __init__(self, longest: int = LONGEST) -> None:
        self._longest = longest
        self._held = bytearray()
        self._dropped: TooLong | None = None

    def feed(self, data: bytes) -> Iterator[Line | TooLong]:
        """Take more of the stream and give the lines that end in it."""
        *ended, rest = data.split(b"\n")
        for piece in ended:
            self._add(piece)
            yield from self._end()
        self._add(rest)

    def close(self) -> Iterator[Line | TooLong]:
        """Give what stands after the last line end, if anything does."""
        if self._held or self._dropped is not None:
            yield from self._end()

    def _add(self, piece: bytes) -> None:
        if self._dropped is not None:
            before = self._dropped
            tail = (before.tail + piece[-_EDGE:])[-_EDGE:]
            self._dropped = TooLong(before.size + len(piece), before.head, tail)
            return
        self._held += piece
        if len(self._held) > self._longest:
            held = self._held
            self._dropped = TooLong(len(held), bytes(held[:_EDGE]), bytes(held[-_EDGE:]))
            self._held = bytearray()

    def _end(self) -> Iterator[Line | TooLong]:
        if self._dropped is not None:
            yield self._dropped
        elif line := bytes(self._held).strip():
            yield Line(line)
        self._held.clear()
        self._dropped = None


def decode(line: Line | TooLong) -> types.JSONRPCMessage | Refusal:
    """Give the message in ``line``, or what is answered to a line that holds none."""
    if isinstance(line, TooLong):
        return _refusal(
            id_of(line),
            types.INVALID_REQUEST,
            f"a message of {line.size} bytes is too long: {LONGEST} at most; put large data into "
            "the worktree on the host, which the VM sees at the same path",
        )
    try:
        return types.jsonrpc_message_adapter.validate_json(line.data, by_name=False)
    except ValidationError as error:
        told = error.errors(include_input=False, include_url=False)[0]
        if told["type"] == "json_invalid":
            reason = told.get("ctx", {}).get("error", told["msg"])
            return _refusal(None, types.PARSE_ERROR, f"this is not JSON: {reason}")
    return _refusal(
        _claimed_id(line.data), types.INVALID_REQUEST, "this is no JSON-RPC 2.0 message"
    )


def id_of(line: TooLong) -> str | int | None:
    """Find the id of a request of which only the edges were kept; None if there is none there."""
    found = _ID_FIRST.match(line.head.decode("utf-8", "replace")) or _ID_LAST.search(
        line.tail.decode("utf-8", "replace")
    )
    return None if found is None else _checked_id(json.loads(found[1]))


def _refusal(request: str | int | None, code: int, message: str) -> Refusal:
    error = types.ErrorData(code=code, message=message)
    return Refusal(types.JSONRPCError(jsonrpc="2.0", id=request, error=error))


def _claimed_id(data: bytes) -> str | int | None:
    try:
        said = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return _checked_id(said.get("id")) if isinstance(said, dict) else None


def _checked_id(value: object) -> str | int | None:
    return value if isinstance(value, str | int) and not isinstance(value, bool) else None
