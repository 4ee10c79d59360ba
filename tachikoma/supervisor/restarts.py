"""When a worker that has ended starts again (pure).

A worker runs until it is told to stop, so every other end counts, also one with status 0: it is
started again. The pause before that doubles from ``FIRST_S`` to ``LONGEST_S``, and a run of
``GOOD_S`` or more sets it back. After ``MOST_RAPID`` runs in a row that were shorter, or at once
when it says itself that trying again is of no use (``PERMANENT``), it is parked: it waits for a
person to put right what is wrong.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from enum import StrEnum

from tachikoma.model.errors_fleet import PERMANENT

FIRST_S = 2.0
LONGEST_S = 120.0
GOOD_S = 10.0
MOST_RAPID = 5


@dataclass(frozen=True, slots=True)
class Restarts:
    """What is remembered of a worker's runs: how many in a row were short, and the next pause."""

    rapid: int = 0
    pause_s: float = FIRST_S


class Parked(StrEnum):
    """Why a worker is not started again."""

    PERMANENT = "permanent"
    RAPID = "rapid"


@dataclass(frozen=True, slots=True)
class Again:
    """The worker starts again after ``after_s``; ``then`` is what is remembered meanwhile."""

    after_s: float
    then: Restarts


@dataclass(frozen=True, slots=True)
class Park:
    """The worker does not start again by itself, after ``rapid`` short runs in a row."""

    why: Parked
    rapid: int


def ended(before: Restarts, *, status: int, ran_s: float) -> Again | Park:
    """Decide about a worker that ran for ``ran_s`` and ended with ``status`` by itself.

    ``status`` is negative for a signal.
    """
    if status == PERMANENT:
        return Park(Parked.PERMANENT, before.rapid)
    if ran_s >= GOOD_S:
        rapid, pause_s = 0, FIRST_S
    else:
        rapid, pause_s = before.rapid + 1, before.pause_s
    if rapid >= MOST_RAPID:
        return Park(Parked.RAPID, rapid)
    return Again(pause_s, Restarts(rapid, min(pause_s * 2, LONGEST_S)))


def told(kind: str, status: int, decision: Again | Park) -> str:
    """Say what was decided, in one line."""
    match decision:
        case Again(after_s):
            return f"worker '{kind}' exited ({how(status)}), restarting in {after_s * 1000:.0f}ms"
        case Park(why, rapid):
            if why is Parked.PERMANENT:
                return f"worker '{kind}' exited with permanent error — parking"
            return f"worker '{kind}' failed {rapid} times rapidly — parking"


def how(status: int) -> str:
    """Tell a worker's exit status and signal; ``status`` is negative for a signal."""
    if status >= 0:
        return f"code={status}, signal=null"
    try:
        name = signal.Signals(-status).name
    except ValueError:  # a real-time signal has no name of its own
        name = str(-status)
    return f"code=null, signal={name}"
