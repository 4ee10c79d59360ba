"""Bytes of an agent's output as lines (pure)."""

from __future__ import annotations

from enum import Enum, auto

from tachikoma.makima.tasks.port import Line

LONGEST_PIECE = 256 << 10
"""Bytes of a line that are handed on at once; a longer one comes in pieces."""


class Rest(Enum):
    """What becomes of bytes behind the last line end."""

    STAYS = auto()
    IS_PARTIAL = auto()
    IS_LAST = auto()


def lines_of(data: bytes, *, rest: Rest, stderr: bool = False) -> tuple[list[Line], int]:
    """Give the lines in ``data``, and how many of its bytes they take.

    What is no UTF-8 is replaced. No piece of a line ends within a character.
    """
    *ended, tail = data.split(b"\n")
    lines: list[Line] = []
    for raw in ended:
        if len(raw) > LONGEST_PIECE:
            raw = raw[_in_pieces(raw, lines, stderr=stderr) :]  # noqa: PLW2901 - the last of them
        lines.append(Line(_text(raw.removesuffix(b"\r")), partial=False, stderr=stderr))
    taken = _in_pieces(tail, lines, stderr=stderr)
    left = tail[taken:]
    if rest is Rest.IS_PARTIAL:
        left = left[: _between_characters(left)]
    if rest is not Rest.STAYS and left:
        lines.append(Line(_text(left), partial=rest is Rest.IS_PARTIAL, stderr=stderr))
        taken += len(left)
    return lines, len(data) - len(tail) + taken


def _in_pieces(raw: bytes, lines: list[Line], *, stderr: bool) -> int:
    """Add the pieces of a line that is too long, but for the last; gives how far they go."""
    at = 0
    while len(raw) - at > LONGEST_PIECE:
        piece = raw[at : at + LONGEST_PIECE]
        piece = piece[: _between_characters(piece)]
        lines.append(Line(_text(piece), partial=True, stderr=stderr))
        at += len(piece)
    return at


def _between_characters(data: bytes) -> int:
    """Give where to cut so that the last character is whole, or is not there."""
    for back in range(1, min(4, len(data) + 1)):
        byte = data[-back]
        if byte < 0x80:
            break
        if byte >= 0xC0:
            needs = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(data) - back if needs > back and byte < 0xF8 else len(data)
    return len(data)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
