"""One key changed in the text of a settings file; every other byte stays as it is (pure)."""

from __future__ import annotations

import re

import tomli

from tachikoma.model.errors import ConfigError

_LONGEST_VALUE = 10_000
"""Lines that one value may go over."""


def with_value(text: str, key: str, toml: str) -> str:
    """Give ``text`` with ``key`` set to ``toml`` (a value as TOML writes it, on one line).

    An assignment that is there is replaced, with a comment behind it; a new one goes to the end.

    Raises:
        ConfigError: the text is written so that this cannot be done safely.
    """
    lines = text.splitlines(keepends=True)
    place = _assignment(lines, key)
    if place is None:
        gap = "" if not text or text.endswith("\n") else "\n"
        changed = f"{text}{gap}{key} = {toml}\n"
    else:
        end = "\r\n" if lines[place.stop - 1].endswith("\r\n") else "\n"
        changed = "".join((*lines[: place.start], f"{key} = {toml}{end}", *lines[place.stop :]))
    return _verified(changed, {**tomli.loads(text), **tomli.loads(f"{key} = {toml}")}, key)


def without(text: str, key: str) -> str:
    """Give ``text`` without ``key``; the same text if it is not set.

    Raises:
        ConfigError: the text is written so that this cannot be done safely.
    """
    lines = text.splitlines(keepends=True)
    place = _assignment(lines, key)
    changed = text if place is None else "".join((*lines[: place.start], *lines[place.stop :]))
    left = {name: value for name, value in tomli.loads(text).items() if name != key}
    return _verified(changed, left, key)


def _assignment(lines: list[str], key: str) -> range | None:
    """Find the lines that set ``key``: from its name to where its value is whole."""
    if key not in tomli.loads("".join(lines)):
        return None
    head = re.compile(rf"""\s*(?:{re.escape(key)}|"{re.escape(key)}"|'{re.escape(key)}')\s*=""")
    for start, line in enumerate(lines):
        if not head.match(line):
            continue
        for stop in range(start + 1, min(len(lines), start + _LONGEST_VALUE) + 1):
            if _is_whole("".join(lines[start:stop])):
                return range(start, stop)
    return None


def _is_whole(piece: str) -> bool:
    try:
        tomli.loads(piece)
    except tomli.TOMLDecodeError:
        return False
    return True


def _verified(changed: str, wanted: dict[str, object], key: str) -> str:
    """Give ``changed`` if it means ``wanted``: what looks like an assignment may be a text."""
    try:
        found = tomli.loads(changed)
    except tomli.TOMLDecodeError:
        found = None
    if found != wanted:
        raise ConfigError(
            f"{key} cannot be changed safely in this file as it is written",
            hint="change it by hand: `tachikoma config --edit`",
        )
    return changed
