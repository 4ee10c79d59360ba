"""What a measurement gives, and how two things are compared fairly."""

from __future__ import annotations

import socket
import statistics
from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One number with a stable name; ``detail`` says what it was made from."""

    name: str
    value: float
    detail: str

    def __str__(self) -> str:
        return f"{self.name} {self.value:.3g} {self.detail}"


def seconds_in_words(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.2f} ms"


async def ratio(
    name: str,
    subject: Callable[[], Awaitable[float]],
    reference: Callable[[], Awaitable[float]],
    *,
    runs: int,
    warm_up: int = 1,
    words: Callable[[float], str] = seconds_in_words,
) -> Figure:
    """Compare the medians of two that take turns, so that the machine's moods hit both alike."""
    took: list[float] = []
    reference_took: list[float] = []
    for run in range(-warm_up, runs):
        one, other = await reference(), await subject()
        if run >= 0:
            reference_took.append(one)
            took.append(other)
    median, against = statistics.median(took), statistics.median(reference_took)
    return Figure(
        name,
        median / against,
        f"{words(median)} against {words(against)}, medians of {runs} runs,"
        f" spread {words(_spread(took))} and {words(_spread(reference_took))}",
    )


def free_port() -> int:
    """Give a port on which nobody listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _spread(values: list[float]) -> float:
    low, _, high = statistics.quantiles(values, n=4) if len(values) > 1 else (0.0, 0.0, 0.0)
    return high - low
