"""Which daemon gets the next task (pure)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Load:
    """A connected daemon: it takes ``most`` tasks at a time and has ``active`` ones. ``since`` is
    when it connected, on a clock that never goes back.
    """

    id: UUID
    most: int
    active: int
    since: float

    @property
    def has_room(self) -> bool:
        """Whether it takes one more."""
        return self.active < self.most


def least_loaded(loads: Iterable[Load]) -> UUID | None:
    """Give the daemon with the fewest active tasks among those with room; None if none has any.

    Of several alike it is the one that has been connected the longest: it has shown that it stays.
    """
    chosen = min((each for each in loads if each.has_room), key=_rank, default=None)
    return None if chosen is None else chosen.id


def _rank(load: Load) -> tuple[int, float, UUID]:
    return load.active, load.since, load.id
