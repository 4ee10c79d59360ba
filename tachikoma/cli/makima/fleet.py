"""What these commands take of the composition root."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, cast

from tachikoma.cli.door import Door
from tachikoma.makima.dashboard.port import HostView
from tachikoma.makima.record import TaskRecord
from tachikoma.makima.settings import DaemonSettings


class Runs(Protocol):
    """A daemon."""

    async def run(self) -> None:
        """Work until cancelled."""
        ...


class Fleet(Protocol):
    """Where a daemon and what it knows come from."""

    async def makima_daemon(self, settings: DaemonSettings) -> Runs:
        """Join a daemon."""
        ...

    def machine(self) -> HostView:
        """Give what a dashboard shows of this machine."""
        ...

    async def makima_tasks(self, database: Path) -> list[TaskRecord]:
        """Give the tasks in a daemon's database by arrival, whether the daemon runs or not.

        Raises:
            BookError: there is no such database, or it cannot be used.
        """
        ...


def fleet(door: Door) -> Fleet:
    """Give where this command's daemon comes from."""
    return cast("Fleet", door.runtime)
