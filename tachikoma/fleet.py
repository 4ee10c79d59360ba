"""The composition root of the fleet: what makima daemons are joined from."""

from __future__ import annotations

import logging
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tachikoma.model.errors import TachikomaError
from tachikoma.runtime import Runtime

if TYPE_CHECKING:  # each is loaded where it is made
    from tachikoma.git.cloning import Cloning
    from tachikoma.makima.daemon import Daemon, Tools
    from tachikoma.makima.dashboard.port import HostView
    from tachikoma.makima.record import Isolation, TaskRecord
    from tachikoma.makima.settings import DaemonSettings
    from tachikoma.makima.tasks.port import Place
    from tachikoma.makima.tasks.workspaces import Workspaces
    from tachikoma.model.events import Report
    from tachikoma.vm.orchestrator import VmOrchestrator
    from tachikoma.vm.requests import (
        DestroyOutcome,
        DestroyRequest,
        ReachOutcome,
        ReachRequest,
        SpawnOutcome,
        SpawnRequest,
    )

_log = logging.getLogger(__name__)
_CREDENTIALS = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN")


async def vms_work(runtime: Runtime) -> bool:
    """Tell whether this host has what the engine of its VMs takes."""
    try:
        return all(each.ok or not each.required for each in await runtime.engine_checks())
    except TachikomaError:
        return False


class FleetRuntime(Runtime):
    """A runtime that also joins makima daemons."""

    async def makima_tasks(self, database: Path) -> list[TaskRecord]:
        """Give the tasks in a daemon's database by arrival, whether the daemon runs or not.

        Raises:
            BookError: there is no such database, or it cannot be used.
        """
        from tachikoma.makima.book import BookReader

        async with BookReader.at(database) as book:
            return await book.tasks()

    async def isolation_for(self, settings: DaemonSettings) -> Isolation:
        """Decide where agents work; says so aloud where that is on this host unasked."""
        from tachikoma.makima.record import Isolation

        wanted = settings.process.isolation
        if wanted == "vm" or (wanted == "auto" and await vms_work(self)):
            return Isolation.VM
        if wanted == "auto":
            _log.warning(
                "agents work on this host, not in VMs: it runs none (`tachikoma doctor` says why)"
            )
        return Isolation.WORKTREE

    def machine(self) -> HostView:
        """Give what a dashboard shows of this machine: its VMs, and the ledger of its proxy.

        By the user's settings, whatever repository the command was called in.
        """
        from tachikoma.machine import LocalMachine

        return LocalMachine(self.at(self.paths.home), hostname=platform.node())

    async def makima_daemon(self, settings: DaemonSettings) -> Daemon:
        """Join a daemon."""
        from tachikoma.makima.daemon import Daemon

        return Daemon(settings, await self._tools(settings))

    async def _tools(self, settings: DaemonSettings) -> Tools:
        from tachikoma.git.cloning import Cloning
        from tachikoma.git.github import GitHub
        from tachikoma.makima.autoclone import clone_missing
        from tachikoma.makima.daemon import Tools
        from tachikoma.makima.tasklog import TaskLogs
        from tachikoma.makima.tasks.completion import Completion
        from tachikoma.makima.tasks.merging import Merging

        cloning = Cloning(environ=self.environ)
        worktrees = self._workspaces(settings, cloning)
        return Tools(
            clock=self.clock,
            worktrees=worktrees,
            actions=Completion(
                git=self.git,
                forge=GitHub(environ=self.environ),
                clock=self.clock,
                place=settings.worktree.repos_dir / ".host",
                own=(settings.worktree.repos_dir, settings.worktree.base_dir),
                commit_rest=worktrees.commit_rest,
                identity=worktrees.identity,
                environ=self.environ,
            ),
            merging=Merging(identity=worktrees.identity),
            places=self._places(settings),
            isolation=await self.isolation_for(settings),
            hostname=platform.node(),
            directory=self.cwd,
            logs=TaskLogs(settings.local_db.path),
            chore=lambda: clone_missing(settings.repos, cloning.full),
        )

    def _workspaces(self, settings: DaemonSettings, cloning: Cloning) -> Workspaces:
        from tachikoma.git.making import Maker
        from tachikoma.makima.tasks.clones import Clones
        from tachikoma.makima.tasks.workspaces import Workspaces

        clones = Clones(repos_dir=settings.worktree.repos_dir, cloning=cloning, clock=self.clock)
        return Workspaces(
            settings=settings.worktree,
            home_dir=settings.repos.home_dir,
            clones=clones,
            maker=Maker(clock=self.clock, locks=self.paths.locks),
            git=self.git,
            environ=self.environ,
        )

    def _places(self, settings: DaemonSettings) -> Mapping[Isolation, Place]:
        from tachikoma.makima.tasks.host_place import HostPlace
        from tachikoma.makima.tasks.vm_place import VmPlace

        host = HostPlace(
            root=settings.local_db.path.parent / "agents",
            environ=self.environ,
            home=self.paths.home,
            clock=self.clock,
        )
        # What the settings of the daemon have for the model goes to the proxy, never into a VM.
        keys = {
            name: value for name, value in settings.process.env_vars.items() if name in _CREDENTIALS
        }
        runtime = Runtime(
            environ={**self.environ, **keys}, cwd=self.cwd, hypervisor=self.chosen or None
        )
        vms = VmPlace(vms=_Vms(runtime), shell=self.shell, clock=self.clock)
        return {place.isolation: place for place in (host, vms)}


class _Vms:
    """The heart, for each repository as its settings have it."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def spawn(self, request: SpawnRequest, report: Report) -> SpawnOutcome:
        """Bring the VM of a branch up."""
        return await (await self._heart(request.cwd)).spawn(request, report)

    async def reach(self, request: ReachRequest, report: Report) -> ReachOutcome:
        """Find the way into one that runs."""
        return await (await self._heart(request.target.cwd)).reach(request, report)

    async def destroy(self, request: DestroyRequest, report: Report) -> DestroyOutcome:
        """Remove one with its disk."""
        return await (await self._heart(request.target.cwd)).destroy(request, report)

    async def _heart(self, directory: Path) -> VmOrchestrator:
        runtime = self._runtime.at(directory)
        await runtime.load_settings()
        return runtime.orchestrator
