"""What a running supervisor can be told: to stop, and to start parked workers again."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator

STOP = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""A hang-up too: it is the terminal of a supervisor in the foreground that goes."""
RETRY = signal.SIGUSR1


class Orders:
    """Orders that have been given; made in a running event loop.

    ``stop`` is set by each order to stop; who sees the first one clears it to see a second.
    """

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self._waiting: set[asyncio.Event] = set()

    def retry(self) -> None:
        """Have everything that waits to be started again start now."""
        for each in self._waiting:
            each.set()

    @contextlib.contextmanager
    def hearing(self) -> Iterator[asyncio.Event]:
        """Give an event that ``retry`` sets while the block runs."""
        told = asyncio.Event()
        self._waiting.add(told)
        try:
            yield told
        finally:
            self._waiting.discard(told)


@contextlib.contextmanager
def by_signals(orders: Orders) -> Iterator[None]:
    """Take orders from signals while the block runs."""
    loop = asyncio.get_running_loop()
    calls: dict[signal.Signals, Callable[[], None]] = dict.fromkeys(STOP, orders.stop.set)
    calls[RETRY] = orders.retry
    for number, call in calls.items():
        loop.add_signal_handler(number, call)
    try:
        yield
    finally:
        for number in calls:
            loop.remove_signal_handler(number)
