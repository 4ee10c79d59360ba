"""Log files that do not grow for ever."""

from __future__ import annotations

import contextlib
from pathlib import Path

_KEPT = 3


def rotate(file: Path, *, largest: int) -> None:
    """Rename ``file`` to ``.1``, ``.1`` to ``.2`` and so on if it is larger than that."""
    try:
        if file.stat().st_size <= largest:
            return
    except FileNotFoundError:
        return
    for number in range(_KEPT, 0, -1):
        older = file.with_name(f"{file.name}.{number}")
        newer = file.with_name(f"{file.name}.{number - 1}") if number > 1 else file
        with contextlib.suppress(FileNotFoundError):
            newer.replace(older)
