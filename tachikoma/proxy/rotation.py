"""Log files that do not grow for ever."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

KEPT = 3


def rotate(file: Path, *, largest: int) -> None:
    """Rename ``file`` to ``.1``, ``.1`` to ``.2`` and so on if it is larger than that."""
    try:
        if file.stat().st_size <= largest:
            return
    except FileNotFoundError:
        return
    for number in range(KEPT, 0, -1):
        older = file.with_name(f"{file.name}.{number}")
        newer = file.with_name(f"{file.name}.{number - 1}") if number > 1 else file
        with contextlib.suppress(FileNotFoundError):
            newer.replace(older)


def keep_output_small(file: Path, *, largest: int) -> None:
    """Rotate ``file``, to which our standard outputs go, and send them to the new one."""
    try:
        if os.fstat(2).st_ino != file.stat().st_ino or file.stat().st_size <= largest:
            return
        rotate(file, largest=largest)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        fresh = os.open(file, flags, 0o600)
    except OSError:
        return  # the old one does as well
    for output in (1, 2):
        os.dup2(fresh, output)
    os.close(fresh)
