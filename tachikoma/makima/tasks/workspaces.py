"""Where tasks work: a worktree and a branch for each, made so that it is there whole or can be
finished, and what an agent left in it kept.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tachikoma.git import keeping, linked, refs
from tachikoma.git.keeping import State
from tachikoma.git.making import Maker
from tachikoma.git.port import Commit, Git, Identity, Repository
from tachikoma.host import files
from tachikoma.makima.commands import SpawnTask
from tachikoma.makima.record import TaskRecord, Workspace
from tachikoma.makima.settings import WorktreeSettings
from tachikoma.makima.tasks.claims import Claim, Claims
from tachikoma.makima.tasks.cleaning import Cleaner
from tachikoma.makima.tasks.clones import Base, Clones
from tachikoma.makima.tasks.copying import copy_files
from tachikoma.makima.tasks.handing_out import HandingOut
from tachikoma.model.errors_fleet import WorkspaceError
from tachikoma.model.events import Notice, Report

NOBODY = Identity("tachikoma", "tachikoma@localhost")
"""Who commits where the user has told git no name: work is kept before names are asked for."""


class Workspaces:
    """Implements the port ``Worktrees``. One daemon uses a ``base_dir`` at a time.

    Args:
        home_dir: what a relative path to hand work out to is relative to.
        git: asked for the user's name only.
        environ: the user's environment, for git to go to remotes with.
    """

    def __init__(
        self,
        *,
        settings: WorktreeSettings,
        home_dir: Path,
        clones: Clones,
        maker: Maker,
        git: Git,
        environ: Mapping[str, str],
    ) -> None:
        self._settings = settings
        self._base_dir = Path(os.path.realpath(settings.base_dir))
        self._clones = clones
        self._maker = maker
        self._git = git
        self._claims = Claims(self._base_dir)
        kept_from = (self._base_dir, clones.directory)
        self._handing_out = HandingOut(
            home_dir=home_dir, kept_from=kept_from, clones=clones, environ=environ
        )
        self._cleaner = Cleaner(base_dir=self._base_dir, claims=self._claims, clones=clones)

    async def prepare(
        self,
        order: SpawnTask,
        *,
        previous: Workspace | None,
        parent: Workspace | None,
        existing: Workspace | None,
        report: Report | None = None,
    ) -> Workspace:
        """Give the task its worktree on a branch of its own. Idempotent, also after a kill.

        ``previous`` is the task's that it continues from, ``parent`` its parent's, ``existing``
        its own if it had one: that is kept as it is. ``report`` hears of a remote that could not
        be fetched while an earlier fetch serves.

        Raises:
            WorkspaceError: what the task asks for is not there; the message names it.
            GitError: the repository cannot be reached or used.
            HostError: the disk is full, or a directory cannot be written.
        """
        if existing is not None and existing.worktree.is_dir():
            return existing
        if order.copy_files and parent is None:
            raise WorkspaceError(
                "copyFiles needs the worktree of the parent task, and there is none",
                hint="give the task a parentTaskId of a task of this daemon",
            )
        with files.translated(self._base_dir):
            self._base_dir.mkdir(parents=True, exist_ok=True)
        claim = self._claims.claim(order.task_id)
        if claim.workspace is None:
            claim = await self._decided(claim, order, previous, parent, report)
        workspace = claim.workspace
        assert workspace is not None
        if claim.ready and workspace.worktree.is_dir():
            return workspace
        await self._make(workspace, "" if claim.ready else claim.overlay)
        if order.copy_files and parent is not None and not claim.ready:
            await asyncio.to_thread(
                copy_files, parent.worktree, workspace.worktree, order.copy_files
            )
        self._claims.write(replace(claim, ready=True))
        return workspace

    async def commit_rest(self, workspace: Workspace, subject: str) -> str:
        """Commit everything that is not ignored, and give the commit of the task's branch.

        Raises: as `keeping.commit_rest`; nothing that the agent wrote is lost.
        """
        identity = await self.identity()
        async with linked.opened(workspace.repository, workspace.worktree) as held:
            return await keeping.commit_rest(held, workspace.branch, Commit(subject, ""), identity)

    async def clone_to(self, workspace: Workspace, target_dir: str) -> Path:
        """Clone the task's worktree, its branch and what is not committed, into a directory.

        Raises:
            WorkspaceError: there is something already, or it is a place of the daemon's own.
            GitError, HostError: nothing is left at the target.
        """
        return await self._handing_out.clone_to(workspace, target_dir, await self.identity())

    async def exists(self, target_dir: str) -> tuple[bool, Path]:
        """Tell whether something is at a path as ``clone_to`` takes it, and which path that is."""
        try:
            path = self._handing_out.path_of(target_dir)
        except WorkspaceError:
            return False, Path(target_dir)
        return os.path.lexists(path), path

    async def cleanup(self, records: Sequence[TaskRecord]) -> list[str]:
        """Remove the worktrees of ended tasks, and say where what was in them is now.

        To be called while no task runs. What cannot be saved stays, with a notice.
        """
        return await self._cleaner.clean(records, await self.identity())

    async def committer(self) -> Mapping[str, str]:
        """Give the variables that name a committer, if the user's configuration names none."""
        known = await self._git.identity(Path("/")) is not None
        return linked.named(None if known else NOBODY)

    async def identity(self) -> Identity:
        """Give whom commits on this host are by: the user, as his own configuration says."""
        return await self._git.identity(Path("/")) or NOBODY

    async def _decided(
        self,
        claim: Claim,
        order: SpawnTask,
        previous: Workspace | None,
        parent: Workspace | None,
        report: Report | None,
    ) -> Claim:
        """Decide what the task starts from, and write it down."""
        overlay = ""
        if previous is not None:
            state = await self._continued(order, previous)
            base = Base(previous.repository, state.commit)
            overlay = state.tree if state.uncommitted else ""
        else:
            base = await self._base(order, parent)
        for notice in base.notices if report else ():
            assert report is not None
            report(Notice(notice))
        while claim.workspace is None:
            branch = f"{self._settings.branch_prefix}{claim.name}"
            if not await refs.commit_of(base.repository, f"refs/heads/{branch}"):
                path = self._base_dir / f"task-{claim.name}"
                workspace = Workspace(base.repository, path, branch, base.commit)
                return self._claims.write(replace(claim, workspace=workspace, overlay=overlay))
            # Somebody else's: an agent may have made it to have this task start from it.
            claim = self._claims.claim(order.task_id, longer_than=claim.name)
        return claim

    async def _continued(self, order: SpawnTask, previous: Workspace) -> State:
        if order.repo_url and not self._clones.is_of(previous.repository, order.repo_url):
            raise WorkspaceError(
                f"the task to continue from worked in {previous.repository.name}, "
                "which is not the repository of this one",
                hint="leave repoUrl out, or set it to that repository's",
            )
        return await keeping.state_of(previous.repository, previous.worktree, previous.branch)

    async def _base(self, order: SpawnTask, parent: Workspace | None) -> Base:
        if order.repo_url:
            return await self._clones.base(order.repo_url, order.base_branch)
        if parent is not None:
            return await self._clones.base_within(
                parent.repository, order.base_branch or parent.branch
            )
        if order.target_repo_path:
            return await self._clones.base(order.target_repo_path, order.base_branch)
        return await self._clones.fresh(order.task_id, await self.identity())

    async def _make(self, workspace: Workspace, overlay: str) -> None:
        repository = Repository(workspace.repository.name, workspace.repository, None)
        async with self._maker.alone(repository):
            await self._maker.make_at(
                repository, workspace.branch, workspace.worktree, workspace.base
            )
        if overlay:
            async with linked.opened(workspace.repository, workspace.worktree) as held:
                await held.fill(overlay)
                # Its index is that of the commit: what was not committed is so here, too.
                await held.show_uncommitted(workspace.base)
