"""The life of a VM as a total table: what is seen and what is wanted give the next step (pure).

Spawn, suspend, halt and destroy are goals over one table. Nothing here waits, asks or remembers:
the orchestrator observes, looks the step up and acts, until DONE or REFUSE.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Phase(StrEnum):
    """What a VM is seen to be."""

    UNKNOWN = "unknown"
    """The engine says something that we do not know."""
    ABSENT = "absent"
    STOPPED = "stopped"
    SUSPENDED = "suspended"
    BOOTING = "booting"
    """It runs and is not reachable yet."""
    BARE = "bare"
    """It is reachable; its provisioning is not finished, not for this boot, or an old one."""
    READY = "ready"


class Goal(StrEnum):
    """Where the user wants it to be."""

    READY = "ready"
    SUSPENDED = "suspended"
    """At rest with its memory; one that is stopped already has none to keep."""
    STOPPED = "stopped"
    ABSENT = "absent"


class Step(StrEnum):
    """What to do next."""

    CLONE = "clone"
    START = "start"
    AWAIT = "await"
    PROVISION = "provision"
    SUSPEND = "suspend"
    STOP = "stop"
    DELETE = "delete"
    DONE = "done"
    REFUSE = "refuse"


STEPS: Final[dict[Goal, dict[Phase, Step]]] = {
    Goal.READY: {
        Phase.UNKNOWN: Step.REFUSE,
        Phase.ABSENT: Step.CLONE,
        Phase.STOPPED: Step.START,
        Phase.SUSPENDED: Step.START,
        Phase.BOOTING: Step.AWAIT,
        Phase.BARE: Step.PROVISION,
        Phase.READY: Step.DONE,
    },
    Goal.SUSPENDED: {
        Phase.UNKNOWN: Step.REFUSE,
        Phase.ABSENT: Step.REFUSE,
        Phase.STOPPED: Step.DONE,
        Phase.SUSPENDED: Step.DONE,
        Phase.BOOTING: Step.SUSPEND,
        Phase.BARE: Step.SUSPEND,
        Phase.READY: Step.SUSPEND,
    },
    Goal.STOPPED: {
        Phase.UNKNOWN: Step.REFUSE,
        Phase.ABSENT: Step.REFUSE,
        Phase.STOPPED: Step.DONE,
        Phase.SUSPENDED: Step.STOP,
        Phase.BOOTING: Step.STOP,
        Phase.BARE: Step.STOP,
        Phase.READY: Step.STOP,
    },
    Goal.ABSENT: {
        Phase.UNKNOWN: Step.REFUSE,
        Phase.ABSENT: Step.DONE,
        Phase.STOPPED: Step.DELETE,
        Phase.SUSPENDED: Step.DELETE,
        Phase.BOOTING: Step.STOP,
        Phase.BARE: Step.STOP,
        Phase.READY: Step.STOP,
    },
}

LEADS_TO: Final[dict[Step, Phase]] = {
    Step.CLONE: Phase.STOPPED,
    Step.START: Phase.BOOTING,
    Step.AWAIT: Phase.BARE,
    Step.PROVISION: Phase.READY,
    Step.SUSPEND: Phase.SUSPENDED,
    Step.STOP: Phase.STOPPED,
    Step.DELETE: Phase.ABSENT,
}
"""The phase in which a VM is after a step that went well. A crash leaves the phase before it."""


def decide(goal: Goal, phase: Phase) -> Step:
    """Look up the next step towards ``goal``."""
    return STEPS[goal][phase]
