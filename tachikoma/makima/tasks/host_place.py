"""This host as the place where agents work: in the bare worktree, as the user, with his login."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from uuid import UUID

from tachikoma.host.clock import Clock
from tachikoma.host.paths import private_dir
from tachikoma.makima.record import Isolation, Workspace
from tachikoma.makima.tasks.agent import HeldAgent
from tachikoma.makima.tasks.environment import for_host
from tachikoma.makima.tasks.program import holder_argv
from tachikoma.makima.tasks.visit import Way
from tachikoma.model.events import Report
from tachikoma.model.vm import Endpoint


class HostPlace:
    """Implements the port ``Place``.

    ``root`` is where holders keep what they know, a directory of its own. ``environ`` is the
    user's environment and ``home`` his home directory.
    """

    def __init__(self, *, root: Path, environ: Mapping[str, str], home: Path, clock: Clock) -> None:
        self._root = root
        self._environ = for_host(environ, home=home)
        self._clock = clock

    @property
    def isolation(self) -> Isolation:
        """In the worktree."""
        return Isolation.WORKTREE

    def api_url(self, server: str) -> str:
        """Give the server's own URL: nothing is between it and an agent here."""
        return server

    async def bring_up(
        self, task: UUID, workspace: Workspace, report: Report, *, door: Endpoint | None = None
    ) -> HeldAgent:
        """Give the agent of ``task``; the place is always there."""
        del workspace, report, door
        private_dir(self._root)
        return self._agent(task)

    async def find(
        self, task: UUID, workspace: Workspace, *, door: Endpoint | None = None
    ) -> HeldAgent | None:
        """Give the agent of a task that was started before; None if nothing is known of it."""
        del workspace, door
        return self._agent(task) if (self._root / str(task)).is_dir() else None

    async def take_down(self, task: UUID, workspace: Workspace) -> None:
        """Kill what is left of the agent, and forget what it printed. Does nothing if absent."""
        agent = await self.find(task, workspace)
        if agent is not None:
            try:
                await agent.discard()
            finally:
                await agent.aclose()

    def _agent(self, task: UUID) -> HeldAgent:
        argv = holder_argv([sys.executable], root=str(self._root), task=task)

        async def way() -> Way:
            return Way(argv, self._environ)

        return HeldAgent(way=way, where="on this host", clock=self._clock)
