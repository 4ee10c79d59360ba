"""A table that fits the terminal (pure)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tachikoma.cli import words

_GAP = 2


@dataclass(frozen=True, slots=True)
class Column:
    """One column. Where there is too little room, the one with the highest ``drop`` goes first
    (0 stays); a column that may be shortened keeps at least ``least`` (0: never shortened).
    """

    title: str
    drop: int = 0
    least: int = 0
    keep_end: bool = False
    right: bool = False


Paint = Callable[[str, str], str]
"""Column title and padded cell -> the cell as it is written (with colour)."""


def table(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    *,
    room: int | None,
    paint: Paint = lambda _title, cell: cell,
) -> list[str]:
    """Give the lines of a table, its head first; ``room`` None means as wide as it wants."""
    cells = [[words.clean(cell) for cell in row] for row in rows]
    shown = _widths(columns, cells, room)

    def line(texts: Sequence[str], *, painted: bool) -> str:
        parts = []
        for index, wide in shown.items():
            column = columns[index]
            text = words.fit(texts[index], wide, keep_end=column.keep_end)
            filled = text.rjust(wide) if column.right else words.pad(text, wide)
            parts.append(paint(column.title, filled) if painted else filled)
        return (" " * _GAP).join(parts).rstrip()

    head = line([column.title for column in columns], painted=False)
    return [head, *(line(row, painted=True) for row in cells)]


def _widths(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], room: int | None
) -> dict[int, int]:
    """Give the columns that are shown and how wide each is."""
    shown = {
        index: max(words.width(column.title), *(words.width(row[index]) for row in rows), 0)
        for index, column in enumerate(columns)
    }
    if room is None:
        return shown
    while _excess(shown, room) > _spare(columns, shown):
        worst = max(shown, key=lambda index: columns[index].drop)
        if columns[worst].drop == 0:
            break
        del shown[worst]
    while _excess(shown, room) > 0:
        widest = max(shown, key=lambda index: _can_give(columns[index], shown[index]))
        if _can_give(columns[widest], shown[widest]) == 0:
            break
        shown[widest] -= 1
    return shown


def _excess(shown: dict[int, int], room: int) -> int:
    return sum(shown.values()) + _GAP * (len(shown) - 1) - room


def _spare(columns: Sequence[Column], shown: dict[int, int]) -> int:
    return sum(_can_give(columns[index], wide) for index, wide in shown.items())


def _can_give(column: Column, wide: int) -> int:
    return max(0, wide - max(column.least, words.width(column.title))) if column.least else 0
