"""Changes one member of an object in a JSON text and leaves every other character (pure)."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

_BLANK = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder(strict=False)
_UNIT = "  "


@dataclass(frozen=True, slots=True)
class _Member:
    key: str
    start: int
    value: int
    end: int


@dataclass(frozen=True, slots=True)
class _Object:
    """An object in a text, from its ``{`` to behind its ``}``."""

    start: int
    end: int
    members: tuple[_Member, ...]

    def of(self, key: str) -> _Member | None:
        return next((each for each in self.members if each.key == key), None)


def with_member(text: str, path: Sequence[str], value: object) -> str:
    """Give ``text`` with ``value`` at ``path``; objects on the way are made if need be.

    Raises:
        ValueError: ``text`` is no JSON object, or something else stands on the way.
    """
    if not text.strip():
        text = "{}\n"
    json.loads(text)
    at, unit = _object(text, _skip(text, 0)), _unit(text)
    for depth, key in enumerate(path[:-1], 1):
        member = at.of(key)
        if member is None:
            for outer in reversed(path[depth:]):
                value = {outer: value}
            return _put(text, at, key, value, depth, unit)
        at = _object(text, member.value)
    return _put(text, at, path[-1], value, len(path), unit)


def without_member(text: str, path: Sequence[str]) -> str:
    """Give ``text`` without what is at ``path``; the same if nothing is.

    Raises:
        ValueError: ``text`` is no JSON object.
    """
    if not text.strip():
        return text
    json.loads(text)
    at = _object(text, _skip(text, 0))
    for key in path[:-1]:
        member = at.of(key)
        if member is None or text[member.value] != "{":
            return text
        at = _object(text, member.value)
    gone = at.of(path[-1])
    if gone is None:
        return text
    index = at.members.index(gone)
    if index > 0:
        return text[: at.members[index - 1].end] + text[gone.end :]
    if len(at.members) > 1:
        return text[: gone.start] + text[at.members[1].start :]
    return f"{text[: at.start]}{{}}{text[at.end :]}"


def member_at(text: str, path: Sequence[str]) -> object:
    """Give the value at ``path``, None if there is none.

    Raises:
        ValueError: ``text`` is no JSON.
    """
    value: object = json.loads(text) if text.strip() else {}
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _put(text: str, at: _Object, key: str, value: object, depth: int, unit: str) -> str:
    margin = unit * depth
    dumped = json.dumps(value, indent=unit, ensure_ascii=False).replace("\n", f"\n{margin}")
    if (member := at.of(key)) is not None:
        return text[: member.value] + dumped + text[member.end :]
    entry = f"\n{margin}{json.dumps(key, ensure_ascii=False)}: {dumped}"
    if at.members:
        last = at.members[-1].end
        return f"{text[:last]},{entry}{text[last:]}"
    return f"{text[: at.start]}{{{entry}\n{unit * (depth - 1)}}}{text[at.end :]}"


def _object(text: str, start: int) -> _Object:
    if text[start : start + 1] != "{":
        raise ValueError("an object is expected")
    members: list[_Member] = []
    at = _skip(text, start + 1)
    while text[at] != "}":
        key, end = _DECODER.raw_decode(text, at)
        value = _skip(text, _skip(text, end) + 1)  # behind the colon
        _, ends = _DECODER.raw_decode(text, value)
        members.append(_Member(key, at, value, ends))
        at = _skip(text, ends)
        if text[at] == ",":
            at = _skip(text, at + 1)
    return _Object(start, at + 1, tuple(members))


def _skip(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    assert found is not None
    return found.end()


def _unit(text: str) -> str:
    """Give what the text indents by."""
    found = re.search(r"\{\r?\n([ \t]+)\S", text)
    return found[1] if found else _UNIT
