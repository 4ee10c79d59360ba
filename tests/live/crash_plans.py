"""What is to happen in a round of crashes, from its seed alone (pure)."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

FILES = 60
"""So many files are in the repository, and an agent changes them all: git has something to do."""
CONFLICTED = "code"


class Victim(StrEnum):
    """What is killed, cut, or (a task) interrupted by its server; a pause is held and ended."""

    DAEMON = "daemon"
    AGENT = "agent"
    HOLDER = "holder"
    CONVERSATION = "conversation"
    VM = "vm"
    SERVER = "server"
    TASK = "task"
    PAUSE = "pause"


HARMLESS = frozenset({Victim.DAEMON, Victim.CONVERSATION, Victim.SERVER, Victim.PAUSE})
"""A task that only meets these succeeds, whenever they come."""


class Moment(StrEnum):
    """What a blow waits for, before it waits for its time."""

    ORDERED = "ordered"
    INITIALIZING = "initializing"
    RUNNING = "running"
    FINISHING = "finishing"


@dataclass(frozen=True, slots=True)
class Job:
    """A task: what its agent does, and what is done with that. Where ``conflicts``, the user's
    repository has changed what the agent changes.
    """

    task: UUID
    plan: str
    action: str
    conflicts: bool

    @property
    def short(self) -> str:
        return self.task.hex[:8]


@dataclass(frozen=True, slots=True)
class Blow:
    """Kills ``victim`` (of the ``job``-th task) so many seconds after a moment of that task."""

    victim: Victim
    job: int
    moment: Moment
    after_s: float

    def __str__(self) -> str:
        return f"{self.victim}@{self.moment}+{self.after_s:.2f}"


@dataclass(frozen=True, slots=True)
class Scenario:
    """A round. ``pause_s`` is how long nobody starts a killed daemon again."""

    seed: int
    vm: bool
    most: int
    tidy: bool
    pause_s: float
    jobs: tuple[Job, ...]
    blows: tuple[Blow, ...]


def scenario(seed: int, *, vm: bool) -> Scenario:
    """Give the round of a seed."""
    dice = random.Random(seed)
    count = 1 if vm else dice.choice((1, 1, 2, 3))
    jobs = tuple(_job(dice, number, vm=vm) for number in range(1, count + 1))
    blows = [_blow(dice, count, vm=vm) for _ in range(dice.choice((1, 2, 2, 3, 4)))]
    return Scenario(
        seed=seed,
        vm=vm,
        most=dice.choice((1, 2, 4)),
        tidy=dice.random() < 0.5,
        pause_s=dice.choice((0.0, 0.0, 0.5, 1.5)),
        jobs=jobs,
        blows=tuple(blows),
    )


def _job(dice: random.Random, number: int, *, vm: bool) -> Job:
    task = UUID(int=dice.getrandbits(128), version=4)
    action = dice.choice(("none", "branch", "merge", "merge", "merge"))
    conflicts = action == "merge" and dice.random() < 0.3
    naps = [dice.uniform(0, 0.8) for _ in range(3)]
    lines = dice.choice((5, 300)) if vm else dice.choice((5, 300, 3000))
    every = f"for i in $(seq {FILES}); do echo {number} > many/$i; done"
    plan = [
        f"say task {number}",
        f"print {lines}",
        f"sleep {naps[0]:.2f}",
        f"write made-{number}.txt made",
        *([f"write {CONFLICTED} theirs"] if conflicts else []),
        f"run {every}" if number == 1 else "say little",
        "run git add -A && git commit -q -m 'By the agent'",
        f"print {lines}",
        f"sleep {naps[1]:.2f}",
        f"write left-{number}.txt left",
        f"print {lines}",
        f"sleep {naps[2]:.2f}",
    ]
    return Job(task, "\n".join(plan), action, conflicts)


def _blow(dice: random.Random, jobs: int, *, vm: bool) -> Blow:
    victims = [*[Victim.DAEMON] * 4, *[Victim.CONVERSATION] * 2, Victim.SERVER, Victim.SERVER]
    victims += [Victim.AGENT, Victim.TASK, Victim.PAUSE]
    victims += [Victim.VM] if vm else [Victim.AGENT, Victim.HOLDER]
    moment = dice.choice(list(Moment))
    longest = {
        Moment.ORDERED: 12.0 if vm else 0.6,
        Moment.INITIALIZING: 12.0 if vm else 0.4,
        Moment.RUNNING: 2.5,
        Moment.FINISHING: 3.0 if vm else 0.7,
    }
    return Blow(
        victim=dice.choice(victims),
        job=dice.randrange(jobs),
        moment=moment,
        after_s=dice.uniform(0, longest[moment]),
    )


def expected_plan(plan: str) -> str:
    """Give what of a plan prints something: it is done again to learn what that is."""
    return "\n".join(line for line in plan.splitlines() if not line.startswith(("sleep", "run")))
