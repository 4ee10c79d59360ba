"""Lets those who wait for news of something know that there may be some."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager


class Bells:
    """One bell for each thing that somebody waits for; ringing never waits."""

    def __init__(self) -> None:
        self._waiting: defaultdict[Hashable, set[asyncio.Event]] = defaultdict(set)

    def ring(self, things: Iterable[Hashable]) -> None:
        """Wake everybody who waits for one of ``things``."""
        for thing in things:
            for event in self._waiting.get(thing, ()):
                event.set()

    @contextmanager
    def heard(self, *things: Hashable) -> Iterator[asyncio.Event]:
        """Give an event that is set whenever one of ``things`` is rung for; who waits clears it
        before he looks.
        """
        event = asyncio.Event()
        for thing in things:
            self._waiting[thing].add(event)
        try:
            yield event
        finally:
            for thing in things:
                self._waiting[thing].discard(event)
                if not self._waiting[thing]:
                    del self._waiting[thing]


async def rung_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for a bell for so long at most; tell whether it rang."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
