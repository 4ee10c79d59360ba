"""The end of a text file that somebody else writes, and what comes after it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from tachikoma.host import files

_MOST = 1 << 24
"""Further back than this nobody looks for lines."""
_LONGEST_LINE = 1 << 16


def _all(_line: str) -> bool:
    return True


class Tail:
    """Reads ``path``, which may be missing, cut short (a new start) or replaced (a new file).

    ``wanted`` chooses lines. What is no UTF-8 is replaced.
    """

    def __init__(self, path: Path, *, wanted: Callable[[str], bool] = _all) -> None:
        self._path = path
        self._wanted = wanted
        self._at = 0
        self._file: tuple[int, int] | None = None
        self._begun = b""

    def last(self, count: int) -> list[str]:
        """Give the last ``count`` lines that are wanted; ``more`` goes on behind them.

        Raises:
            HostError: the file is there and cannot be read.
        """
        data = self._read(from_end=_MOST)
        found = [line for line in self._lines(data) if self._wanted(line)]
        return found[-count:] if count else []

    def more(self) -> list[str]:
        """Give the whole lines that have come since.

        Raises:
            HostError: as ``last``.
        """
        return [line for line in self._lines(self._read()) if self._wanted(line)]

    def rest(self) -> list[str]:
        """Give the line that has begun and not ended, for who reads no further."""
        begun, self._begun = self._begun, b""
        lines = [begun.decode("utf-8", "replace")] if begun else []
        return [line for line in lines if self._wanted(line)]

    def _lines(self, data: bytes) -> list[str]:
        *lines, self._begun = (self._begun + data).split(b"\n")
        if len(self._begun) > _LONGEST_LINE:
            lines, self._begun = [*lines, self._begun], b""
        return [line.decode("utf-8", "replace").rstrip("\r") for line in lines]

    def _read(self, *, from_end: int | None = None) -> bytes:
        with files.translated(self._path):
            try:
                file = self._path.open("rb")
            except FileNotFoundError:
                return b""
            with file:
                seen = os.fstat(file.fileno())
                if self._file != (seen.st_dev, seen.st_ino) or seen.st_size < self._at:
                    self._file, self._at, self._begun = (seen.st_dev, seen.st_ino), 0, b""
                if from_end is not None:
                    self._at = max(self._at, seen.st_size - from_end)
                file.seek(self._at)
                data = file.read(_MOST)
                self._at += len(data)
        return data
