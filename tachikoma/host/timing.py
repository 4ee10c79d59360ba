"""Laps: what a command has got through, for who wants to know where its time goes."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Lap:
    """``what`` was done ``at_s`` seconds after the command began, ``took_s`` after the last lap."""

    what: str
    at_s: float
    took_s: float


def lap(what: str) -> None:
    """Say that ``what`` is done now. Costs next to nothing when nobody listens."""
    _log.debug(what)


@contextlib.contextmanager
def laps() -> Iterator[list[Lap]]:
    """Collect the laps of the block; the first begins with this process."""
    handler = _Collector(begun=time.monotonic() - _age_s())
    before = _log.level
    _log.addHandler(handler)
    _log.setLevel(logging.DEBUG)
    try:
        yield handler.laps
    finally:
        _log.removeHandler(handler)
        _log.setLevel(before)


class _Collector(logging.Handler):
    def __init__(self, *, begun: float) -> None:
        super().__init__()
        self._begun = begun
        self.laps: list[Lap] = []

    def emit(self, record: logging.LogRecord) -> None:
        at = time.monotonic() - self._begun
        last = self.laps[-1].at_s if self.laps else 0.0
        self.laps.append(Lap(record.getMessage(), at, at - last))


def _age_s() -> float:
    """Give how long this process has been running; 0 where the system does not say."""
    try:
        stat = Path("/proc/self/stat").read_text(encoding="ascii", errors="replace")
        up = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
    except OSError:
        return 0.0
    return max(up - int(stat.rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK"), 0.0)
