"""Time: the only place that reads clocks and sleeps, so that tests can bring their own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Protocol


class Clock(Protocol):
    """Wall time, monotonic time and waiting."""

    def now(self) -> float:
        """Give seconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Give seconds of a clock that never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class SystemClock:
    """The clocks of this machine."""

    def now(self) -> float:
        """Give seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Give seconds of a clock that never goes back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


class FakeClock:
    """A clock that stands still until somebody sleeps; sleeping takes no time."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._now = start

    def now(self) -> float:
        """Give the pretended seconds since the epoch."""
        return self._now

    def monotonic(self) -> float:
        """Give the same clock."""
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Move the clock and let other tasks run once."""
        self._now += seconds
        await asyncio.sleep(0)


async def attempts(
    clock: Clock, *, deadline_s: float, first_s: float = 0.02, most_s: float = 0.5
) -> AsyncIterator[float]:
    """Yield the seconds left, again and again with growing pauses, until the deadline passes.

    The first attempt comes at once, and there is always at least one. The loop that uses this
    leaves it when it has what it wants; running off the end means that the time is over.
    """
    end = clock.monotonic() + deadline_s
    pause = first_s
    while True:
        left = end - clock.monotonic()
        yield max(left, 0.0)
        left = end - clock.monotonic()
        if left <= 0:
            return
        await clock.sleep(min(pause, left))
        pause = min(pause * 1.5, most_s)
