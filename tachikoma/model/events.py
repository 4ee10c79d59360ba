"""What the heart reports while it works; each door gives it a voice of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StepStarted:
    """A step begins. ``name`` is stable and short (``clone``); ``text`` is for people."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class StepProgress:
    """Something is seen to move within the current step; ``fraction`` is 0..1 where known."""

    text: str
    fraction: float | None = None


@dataclass(frozen=True, slots=True)
class StepEnded:
    """The step is done and took this long."""

    name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Notice:
    """Something the user should know and that stays on the screen."""

    text: str


Event = StepStarted | StepProgress | StepEnded | Notice
Report = Callable[[Event], None]


def silent(event: Event) -> None:
    """Report to nobody."""
    del event
