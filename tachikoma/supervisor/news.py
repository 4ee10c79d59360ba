"""What is new on a screen that somebody draws on (pure).

A program on a terminal does not write lines, it draws: what it says moves up, a box stays at the
bottom, something turns while it thinks. A line is told when it was the same on two looks in a row,
and was not among the lines told before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher

_REMEMBERED = 1200
"""More than a look has lines, so that what scrolls is still known."""


class News:
    """Tells the new lines of one look after the other."""

    def __init__(self) -> None:
        self._before: list[str] = []
        self._told: list[str] = []

    def take(self, look: Sequence[str] | None) -> list[str]:
        """Give the lines that have settled since the look before; None is a look without change."""
        now = self._before if look is None else [line.rstrip() for line in look]
        settled = [line for line in _common(self._before, now) if _says_something(line)]
        self._before = list(now)
        fresh = _added(self._told, settled)
        self._told = _merged(self._told, settled)[-_REMEMBERED:]
        return fresh


def _says_something(line: str) -> bool:
    return any(char.isalnum() for char in line)


def _matcher(one: list[str], two: list[str]) -> SequenceMatcher[str]:
    return SequenceMatcher(None, one, two, autojunk=False)


def _common(one: list[str], two: list[str]) -> list[str]:
    """Give the lines that both have, in order."""
    if one == two:
        return two
    blocks = _matcher(one, two).get_matching_blocks()
    return [line for block in blocks for line in two[block.b : block.b + block.size]]


def _added(told: list[str], settled: list[str]) -> list[str]:
    if told[-len(settled) :] == settled:
        return []
    codes = _matcher(told, settled).get_opcodes()
    return [
        line
        for what, _, _, first, last in codes
        if what in ("insert", "replace")
        for line in settled[first:last]
    ]


def _merged(told: list[str], settled: list[str]) -> list[str]:
    """Put the lines of both in one order, those that are gone from the screen before new ones."""
    merged: list[str] = []
    for _, first, last, begin, end in _matcher(told, settled).get_opcodes():
        merged += told[first:last]
        merged += [] if told[first:last] == settled[begin:end] else settled[begin:end]
    return merged
