"""VMs as the places where agents work: one for each task, thrown away with it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from tachikoma.host.clock import Clock
from tachikoma.makima.record import Isolation, Workspace
from tachikoma.makima.tasks.agent import HeldAgent
from tachikoma.makima.tasks.environment import fit_for_guest
from tachikoma.makima.tasks.port import Launch
from tachikoma.makima.tasks.program import holder_argv
from tachikoma.makima.tasks.visit import Way
from tachikoma.model.errors import VmNotFoundError, VmNotRunningError
from tachikoma.model.errors_fleet import PlaceLostError
from tachikoma.model.events import Report, silent
from tachikoma.model.vm import Endpoint
from tachikoma.ssh.port import Shell
from tachikoma.vm.requests import (
    DestroyOutcome,
    DestroyRequest,
    ReachOutcome,
    ReachRequest,
    SpawnOutcome,
    SpawnRequest,
    Target,
)

_log = logging.getLogger(__name__)

_ROOT = "~/.makima/agents"
_PYTHON = ("/usr/bin/python3",)
_DOOR = "127.0.0.1:39786"
"""Where an agent in a VM finds the server's API."""
_ALIVE = ("ServerAliveInterval=5", "ServerAliveCountMax=3")
"""A VM that hangs is noticed after 15 seconds. Of an option given twice, ssh takes the first."""


class Vms(Protocol):
    """What of the orchestrator a place needs."""

    async def spawn(self, request: SpawnRequest, report: Report) -> SpawnOutcome:
        """Bring the VM of a branch up."""
        ...

    async def reach(self, request: ReachRequest, report: Report) -> ReachOutcome:
        """Find the way into one that runs."""
        ...

    async def destroy(self, request: DestroyRequest, report: Report) -> DestroyOutcome:
        """Remove one with its disk."""
        ...


class VmPlace:
    """Implements the port ``Place``."""

    def __init__(self, *, vms: Vms, shell: Shell, clock: Clock) -> None:
        self._vms = vms
        self._shell = shell
        self._clock = clock

    @property
    def isolation(self) -> Isolation:
        """In a VM."""
        return Isolation.VM

    def api_url(self, server: str) -> str:
        """Give the guest's end of the way to the server's API."""
        del server
        return f"http://{_DOOR}"

    async def bring_up(
        self, task: UUID, workspace: Workspace, report: Report, *, door: Endpoint | None = None
    ) -> HeldAgent:
        """Make the VM of the task's branch ready, and give its agent. Idempotent.

        Raises:
            TachikomaError: as the orchestrator's spawn.
        """
        await self._vms.spawn(SpawnRequest(cwd=workspace.worktree, branch=workspace.branch), report)
        return self._agent(task, workspace, door)

    async def find(
        self, task: UUID, workspace: Workspace, *, door: Endpoint | None = None
    ) -> HeldAgent | None:
        """Give the agent of a task that was brought up before; None if its VM does not run."""
        try:
            await self._reach(workspace)
        except (VmNotFoundError, VmNotRunningError):
            return None
        return self._agent(task, workspace, door)

    async def take_down(self, task: UUID, workspace: Workspace) -> None:
        """Destroy the VM with all that is in it. Does nothing if absent."""
        del task
        try:
            await self._vms.destroy(DestroyRequest(_target(workspace), force=True), silent)
        except VmNotFoundError:
            return

    def _agent(self, task: UUID, workspace: Workspace, door: Endpoint | None) -> HeldAgent:
        command = holder_argv(_PYTHON, root=_ROOT, task=task)

        async def way() -> Way:
            try:
                reached = await self._reach(workspace)
            except (VmNotFoundError, VmNotRunningError) as error:
                raise PlaceLostError(
                    f"the VM of {workspace.branch} is gone: {error.message}",
                    hint="its worktree is still there; start a task that continues from it",
                ) from error
            argv = self._shell.attach_argv(reached.login, command=command, tty=False)
            return Way(conversation_argv(argv, door=door))

        return HeldAgent(
            way=way,
            where=f"in the VM of {workspace.branch}",
            clock=self._clock,
            fit=_fit,
        )

    async def _reach(self, workspace: Workspace) -> ReachOutcome:
        return await self._vms.reach(ReachRequest(_target(workspace)), silent)


def conversation_argv(ssh: Sequence[str], *, door: Endpoint | None) -> list[str]:
    """Give the command line of an ``ssh`` for a conversation that goes on for hours (pure):
    one that notices a dead VM, and that brings ``door`` into it.
    """
    program, *rest = ssh
    options = [part for option in _ALIVE for part in ("-o", option)]
    if door is not None:
        options += ["-o", "ClearAllForwardings=no", "-o", "ExitOnForwardFailure=yes"]
        options += ["-R", f"{_DOOR}:{door.host}:{door.port}"]
    return [program, *options, *rest]


def _fit(launch: Launch) -> Launch:
    fit = fit_for_guest(launch)
    if left_out := sorted(set(launch.env) - set(fit.env)):
        _log.warning("a VM does not get %s: it has its own", ", ".join(left_out))
    return fit


def _target(workspace: Workspace) -> Target:
    # The repository outlives the worktree.
    return Target(cwd=workspace.repository, name=workspace.branch)
