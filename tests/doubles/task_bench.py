"""A daemon's git side on real repositories, for the tests of its parts."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from uuid import UUID

from tachikoma.git.cli import GitCli
from tachikoma.git.cloning import Cloning
from tachikoma.git.making import Maker
from tachikoma.git.port import Forge
from tachikoma.host.clock import SystemClock
from tachikoma.makima.commands import SpawnTask
from tachikoma.makima.record import TaskRecord, TaskStatus, Workspace
from tachikoma.makima.settings import WorktreeSettings
from tachikoma.makima.tasks.clones import Clones
from tachikoma.makima.tasks.completion import Completion
from tachikoma.makima.tasks.port import Actions, Worktrees
from tachikoma.makima.tasks.workspaces import Workspaces
from tachikoma.model.events import Event, Notice
from tests.doubles.real_git import commit, git, new_repository

FIRST = UUID("11111111-0000-4000-8000-000000000001")
SECOND = UUID("22222222-0000-4000-8000-000000000002")
THIRD = UUID("33333333-0000-4000-8000-000000000003")


class Bench:
    """A remote called ``hub`` with two branches, and everything that makes worktrees of it.

    With ``made`` the remote is there already.
    """

    def __init__(self, base: Path, *, made: bool = False) -> None:
        self.base = base
        self.hub = base / "hub"
        if not made:
            new_repository(self.hub)
            commit(self.hub, "code", "one\ntwo\nthree\n")
            git(self.hub, "branch", "develop")
        self.repos = base / "repos"
        self.trees = base / "worktrees"
        self.home = base / "homes"
        self.said: list[Event] = []
        clock = SystemClock()
        environ = dict(os.environ)
        locks = base / "locks"
        self.git = GitCli(clock=clock, locks=locks)
        self.clones = Clones(repos_dir=self.repos, cloning=Cloning(environ=environ), clock=clock)
        self.workspaces = Workspaces(
            settings=WorktreeSettings(base_dir=self.trees, repos_dir=self.repos),
            home_dir=self.home,
            clones=self.clones,
            maker=Maker(clock=clock, locks=locks),
            git=self.git,
            environ=environ,
        )

    @property
    def worktrees(self) -> Worktrees:
        """The same as its users see it."""
        return self.workspaces

    def actions(self, forge: Forge) -> Actions:
        return self.completion(forge)

    def completion(self, forge: Forge) -> Completion:
        return Completion(
            git=self.git,
            forge=forge,
            clock=SystemClock(),
            place=self.repos / ".host",
            own=(self.repos, self.trees),
            commit_rest=self.workspaces.commit_rest,
            identity=self.workspaces.identity,
            environ=dict(os.environ),
        )

    def order(self, task: UUID = FIRST, **more: object) -> SpawnTask:
        return SpawnTask.model_validate(
            {
                "task_id": task,
                "plan": "Do it",
                "depth": 0,
                "is_orchestrator": False,
                "repo_url": str(self.hub),
                **more,
            }
        )

    async def prepare(
        self,
        task: UUID = FIRST,
        *,
        previous: Workspace | None = None,
        parent: Workspace | None = None,
        existing: Workspace | None = None,
        **more: object,
    ) -> Workspace:
        return await self.workspaces.prepare(
            self.order(task, **more),
            previous=previous,
            parent=parent,
            existing=existing,
            report=self.said.append,
        )

    @property
    def notices(self) -> list[str]:
        return [event.text for event in self.said if isinstance(event, Notice)]

    def record(
        self, workspace: Workspace, task: UUID = FIRST, status: TaskStatus = TaskStatus.DONE
    ) -> TaskRecord:
        return TaskRecord(
            order=self.order(task), arrival=1, status=status, created=0.0, workspace=workspace
        )


def work(workspace: Workspace, name: str, text: str) -> str:
    """Commit a file in a worktree as its agent would, and give the commit."""
    git(workspace.worktree, "config", "user.name", "Agent")
    git(workspace.worktree, "config", "user.email", "agent@example.org")
    return commit(workspace.worktree, name, text)


def fingerprint(directory: Path) -> str:
    """Give a hash of everything in a directory: names, modes, links and contents."""
    digest = hashlib.sha256()
    for path in sorted(directory.rglob("*")):
        digest.update(f"{path.relative_to(directory)}\0{path.lstat().st_mode}\0".encode())
        if path.is_symlink():
            digest.update(str(path.readlink()).encode())
        elif path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()
