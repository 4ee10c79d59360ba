"""Waiting in tests, with a deadline."""

from __future__ import annotations

from collections.abc import Callable

from tachikoma.host.clock import SystemClock, attempts


async def until(met: Callable[[], bool], *, deadline_s: float = 15.0) -> None:
    """Wait until ``met()``, and fail if that does not come."""
    async for _ in attempts(SystemClock(), deadline_s=deadline_s, first_s=0.002, most_s=0.05):
        if met():
            return
    raise AssertionError("it did not come")
