"""Giving a task's work to people: a clone of its worktree in a directory of their choice."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from tachikoma.git import cloning, keeping, outward, refs
from tachikoma.git.exporting import exported
from tachikoma.git.linked import opened
from tachikoma.git.outward import CLONE_S, Outward
from tachikoma.git.port import Commit, Identity
from tachikoma.host import files
from tachikoma.makima.record import Workspace
from tachikoma.makima.tasks.clones import Clones
from tachikoma.model.errors_fleet import WorkspaceError

_STATE = "refs/makima/state"


class HandingOut:
    """Clones worktrees of tasks. ``kept_from`` are directories that nobody is given anything in:
    the daemon's own, which guests write to.
    """

    def __init__(
        self,
        *,
        home_dir: Path,
        kept_from: Sequence[Path],
        clones: Clones,
        environ: Mapping[str, str],
    ) -> None:
        self._home_dir = home_dir
        self._kept_from = kept_from
        self._clones = clones
        self._outward = Outward(environ=environ)

    def path_of(self, target_dir: str) -> Path:
        """Give the path that is meant: ``~`` expanded, a relative one below ``home_dir``.

        Raises:
            WorkspaceError: there is no such user, or it is no path.
        """
        if not target_dir.strip() or "\0" in target_dir:
            raise WorkspaceError(f"{target_dir!r} is no directory", hint="name one")
        try:
            given = Path(target_dir).expanduser()
        except RuntimeError as error:
            raise WorkspaceError(
                f"{target_dir} is in the home directory of nobody known here",
                hint="give the whole path",
            ) from error
        return Path(os.path.normpath(self._home_dir / given))

    async def clone_to(self, workspace: Workspace, target_dir: str, identity: Identity) -> Path:
        """Clone the branch and what is not committed; whole or not at all."""
        target = self.path_of(target_dir)
        self._check(target)
        repository, branch = workspace.repository, workspace.branch
        state = await keeping.state_of(repository, workspace.worktree, branch)
        names = {f"refs/heads/{branch}": state.commit}
        if state.uncommitted:
            names[_STATE] = await _as_commit(workspace, state, identity)
        with files.translated(target):
            await asyncio.to_thread(target.parent.mkdir, parents=True, exist_ok=True)
            for stale in target.parent.glob(f".{target.name}.*.tmp"):
                await asyncio.to_thread(shutil.rmtree, stale, ignore_errors=True)
        with (
            exported(repository, names, head=f"refs/heads/{branch}") as source,
            cloning.temporary(target) as made,
        ):
            await self._git(["clone", "--quiet", "--no-local", "--", str(source), str(made)])
            if state.uncommitted:
                await self._show(source, made, branch)
            await self._point_at_origin(made, self._clones.url_of(repository))
            with files.translated(target):
                made.rename(target)
        return target

    def _check(self, target: Path) -> None:
        real = Path(os.path.realpath(target))
        for place in self._kept_from:
            if real.is_relative_to(os.path.realpath(place)):
                raise WorkspaceError(
                    f"{target} is in {place}, which is the daemon's own",
                    hint="choose a directory outside of it",
                )
        if target.is_symlink() or (os.path.lexists(target) and not cloning.is_empty(target)):
            raise WorkspaceError(
                f"{target} is there already, and not empty",
                hint="choose another directory, or move it away",
            )

    async def _show(self, source: Path, made: Path, branch: str) -> None:
        within = ["-C", str(made)]
        fetch = ["fetch", "--quiet", "--no-write-fetch-head", "--no-tags", "--", str(source)]
        await self._git([*within, *fetch, f"{_STATE}:{_STATE}"])
        await self._git([*within, "read-tree", "--reset", "-u", _STATE])
        await self._git([*within, "read-tree", f"refs/heads/{branch}"])
        await self._git([*within, "update-ref", "-d", _STATE])

    async def _point_at_origin(self, made: Path, url: str) -> None:
        await self._git(["-C", str(made), "remote", "remove", "origin"])
        if url:
            await self._git(["-C", str(made), "remote", "add", "origin", url])

    async def _git(self, arguments: Sequence[str]) -> None:
        done = await self._outward.git(arguments, deadline_s=CLONE_S)
        if done.status != 0:
            raise outward.unreachable("the clone", done)


async def _as_commit(workspace: Workspace, state: keeping.State, identity: Identity) -> str:
    """Give a commit of the state's files, as only commits can be fetched."""
    found = await refs.commit_of(workspace.repository, state.tree)
    if found:
        return found
    async with opened(workspace.repository, workspace.worktree) as held:
        return await held.commit(state.tree, [state.commit], Commit("State", ""), identity)
