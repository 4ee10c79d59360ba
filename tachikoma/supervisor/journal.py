"""The supervisor's log: what it and its workers said, with times, in a file that stays small."""

from __future__ import annotations

import contextlib
import os
from datetime import UTC, datetime
from pathlib import Path

from tachikoma.host.clock import Clock
from tachikoma.host.paths import private_dir
from tachikoma.host.process import redacted
from tachikoma.model.errors import HostError

LARGEST = 1 << 20
KEPT = 3


class RotatingLog:
    """Appends lines to ``path``, readable by the user only; credentials are taken out.

    A file that would grow beyond ``largest`` bytes becomes ``.1``, the one before ``.2``, and so
    on; ``kept`` old ones stay. Nothing here fails: a log must not stop the work.
    """

    def __init__(
        self, path: Path, *, clock: Clock, largest: int = LARGEST, kept: int = KEPT
    ) -> None:
        self.path = path
        self._clock = clock
        self._largest = largest
        self._kept = kept

    def add(self, line: str) -> None:
        """Add a line, with the time before it."""
        at = datetime.fromtimestamp(self._clock.now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        data = f"{at} {redacted(line)}\n".encode("utf-8", "backslashreplace")
        with contextlib.suppress(OSError, HostError):
            self._append(data)

    def _append(self, data: bytes) -> None:
        private_dir(self.path.parent)
        with contextlib.suppress(FileNotFoundError):
            if self.path.stat().st_size + len(data) > self._largest:
                self._rotate()
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self.path, flags, 0o600)
        try:
            os.write(descriptor, data)
        finally:
            os.close(descriptor)

    def _rotate(self) -> None:
        for number in range(self._kept - 1, 0, -1):
            with contextlib.suppress(FileNotFoundError):
                self._old(number).replace(self._old(number + 1))
        self.path.replace(self._old(1))

    def _old(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")
