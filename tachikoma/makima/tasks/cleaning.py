"""Removing the worktrees of ended tasks, and nothing that is in no commit."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from tachikoma.git import keeping, refs
from tachikoma.git.linked import admin_of, opened
from tachikoma.git.port import Commit, Identity
from tachikoma.host import files
from tachikoma.makima.record import TaskRecord, Workspace
from tachikoma.makima.tasks.claims import CLAIMS, Claim, Claims
from tachikoma.makima.tasks.clones import Clones
from tachikoma.model.errors import TachikomaError

_REMOVED = ".removed-"
_SAVED = Commit("Saved by the makima daemon", "What was not committed when its worktree went.")


class Cleaner:
    """Cleans up ``base_dir``, where the worktrees of tasks are."""

    def __init__(self, *, base_dir: Path, claims: Claims, clones: Clones) -> None:
        self._base_dir = base_dir
        self._claims = claims
        self._clones = clones

    async def clean(self, records: Sequence[TaskRecord], identity: Identity) -> list[str]:
        """Remove what no task needs any more, and say where what was in it is."""
        if not self._base_dir.is_dir():
            return []
        known = {
            record.workspace.worktree: record for record in records if record.workspace is not None
        }
        going_on = {record.id for record in records if not record.status.ended}
        notices: list[str] = []
        for path in sorted(self._base_dir.iterdir()):
            if path.name.startswith(_REMOVED):
                await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)
                continue
            claim = None if path.name == CLAIMS else self._claims.of_worktree(path)
            record = known.get(path)
            task = record.id if record else claim.task if claim else None
            if path.name == CLAIMS or task in going_on:
                continue
            workspace = self._workspace(path, record, claim)
            if workspace is None:
                notices.append(f"{path} is no worktree of a task's, and stays as it is")
                continue
            try:
                notices += await self._remove(workspace, identity)
            except TachikomaError as error:
                notices.append(f"{path} stays: {error.message}")
        return notices

    def _workspace(
        self, path: Path, record: TaskRecord | None, claim: Claim | None
    ) -> Workspace | None:
        """Tell whether a directory is a worktree of ours, by what no guest can write.

        One whose record is gone is known by its claim.
        """
        if path.is_symlink() or not path.is_dir():
            return None
        workspace = record.workspace if record else claim.workspace if claim else None
        if workspace is None or workspace.worktree != path:
            return None
        ours = workspace.repository.parent == self._clones.directory
        return workspace if ours and admin_of(workspace.repository, path) else None

    async def _remove(self, workspace: Workspace, identity: Identity) -> list[str]:
        repository, path, branch = workspace.repository, workspace.worktree, workspace.branch
        async with opened(repository, path) as held:
            within = await held.clones_within()
            if within:
                return [
                    f"{path} stays: there is a repository of the agent's own in it ({within[0]})"
                ]
            saved = await keeping.save(held, branch, _SAVED, identity)
        unmerged = await self._unmerged(workspace)
        left = await asyncio.to_thread(_remove_worktree, repository, path)
        notices = []
        if left:
            notices.append(f"parts of {path} belong to somebody else and are left, at {left}")
        if saved:
            notices.append(
                f"{path} is removed; what was not committed in it is kept. To get it back, "
                f"in a repository of yours: git fetch {repository} {saved}:refs/heads/recovered"
            )
        if unmerged:
            notices.append(
                f"{path} is removed; its branch, which is merged nowhere, is kept. To get it, "
                f"in a repository of yours: git fetch {repository} {branch}:{branch}"
            )
        return notices

    async def _unmerged(self, workspace: Workspace) -> bool:
        """Tell whether the task's branch has commits that neither the remote nor another task
        has.
        """
        repository = workspace.repository
        tip = await refs.commit_of(repository, f"refs/heads/{workspace.branch}")
        if not tip or tip == workspace.base:
            return False
        others = await refs.branches(repository, ["refs/heads/", "refs/remotes/origin/"])
        return not any(
            [
                await refs.contains(repository, commit, tip)
                for ref, commit in _others(others, workspace.branch).items()
            ]
        )


def _others(branches: Mapping[str, str], branch: str) -> dict[str, str]:
    return {
        ref: commit
        for ref, commit in branches.items()
        if ref not in (f"refs/heads/{branch}", "refs/remotes/origin/HEAD")
    }


def _remove_worktree(repository: Path, path: Path) -> Path | None:
    """Remove a worktree and what the repository knows of it; give what could not be removed.

    No link is followed. What a guest's root has written may be nobody's of this host.
    """
    admin = admin_of(repository, path)
    going = path.with_name(f"{_REMOVED}{path.name}")
    with files.translated(path):
        # At once, so that a half removed one is never taken for one whose agent removed files.
        path.rename(going)
    shutil.rmtree(going, ignore_errors=True)
    if admin:
        place = repository.joinpath(*admin)
        if Path(os.path.realpath(place)) == place:
            shutil.rmtree(place, ignore_errors=True)
    return going if going.exists() else None
