"""An orchestrator's merges of its subtasks' branches, in its own worktree.

Every answer is a value: what cannot be done is told to the orchestrator, which is an agent.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from tachikoma.git import keeping, merging, refs
from tachikoma.git.linked import Linked, opened
from tachikoma.git.merging import Standing
from tachikoma.git.port import Commit, Identity
from tachikoma.makima.frames import BranchInfo
from tachikoma.makima.record import Skip, Workspace
from tachikoma.model.errors import TachikomaError

STRATEGIES = ("ours", "theirs")
_SHORT = 8
_SOME = 10
_ABORTED = Commit("What was done by hand before a merge was aborted", "")


@dataclass(frozen=True, slots=True)
class MergeOutcome:
    """What became of a step; ``conflicts`` are the files that are left, ``commit`` the merge's."""

    success: bool
    message: str
    commit: str | None = None
    conflicts: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class MergeState:
    """How a merge stands; ``source`` is None if none is in progress."""

    source: str | None
    conflicts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CompleteCheck:
    """Whether every subtask's branch is merged, or skipped on purpose."""

    can_complete: bool
    unmerged: tuple[str, ...]
    merged: int
    skipped: int


class Merging:
    """Merges in the worktrees of orchestrators; ``identity`` tells whom commits are by."""

    def __init__(self, *, identity: Callable[[], Awaitable[Identity]]) -> None:
        self._identity = identity

    async def branches(
        self, workspace: Workspace, subtasks: Sequence[tuple[UUID, str]]
    ) -> tuple[BranchInfo, ...]:
        """List the branches of subtasks, in their order. One that is gone has no last commit, and
        counts as unmerged.
        """
        repository = workspace.repository
        tip = await refs.commit_of(repository, f"refs/heads/{workspace.branch}")
        found = []
        for task, branch in subtasks:
            commit = await refs.commit_of(repository, f"refs/heads/{branch}")
            found.append(
                BranchInfo(
                    name=branch,
                    task_id=task,
                    is_merged=bool(commit and tip and await refs.contains(repository, tip, commit)),
                    last_commit=commit[:_SHORT],
                    last_commit_message=await refs.subject(repository, commit) if commit else "",
                )
            )
        return tuple(found)

    async def start(self, workspace: Workspace, source: str) -> MergeOutcome:
        """Begin to merge the branch ``source``; it is committed by ``commit``."""
        return await _told(self._start(workspace, source))

    async def status(self, workspace: Workspace) -> MergeState:
        """Say how the merge stands.

        Raises:
            GitError: the worktree is no more, or cannot be read.
        """
        async with opened(workspace.repository, workspace.worktree) as held:
            now = await merging.standing(held)
        return MergeState(now.source or None, now.conflicts)

    async def resolve(self, workspace: Workspace, file: str, strategy: str) -> MergeOutcome:
        """Settle the conflict in ``file`` by taking one side's, which may have deleted it."""
        return await _told(self._resolve(workspace, file, strategy))

    async def commit(self, workspace: Workspace, message: str) -> MergeOutcome:
        """Commit the merge, once no conflict is left."""
        return await _told(self._commit(workspace, message))

    async def abort(self, workspace: Workspace) -> MergeOutcome:
        """Give the merge up. What was edited by hand meanwhile is kept on a ref that is told."""
        return await _told(self._abort(workspace))

    async def _start(self, workspace: Workspace, source: str) -> MergeOutcome:
        repository = workspace.repository
        commit = await refs.commit_of(repository, f"refs/heads/{source}")
        if not commit:
            return _refused(
                f"there is no branch {source}: listBranches gives those of the subtasks"
            )
        async with opened(repository, workspace.worktree) as held:
            known = await _not_to_start(held, workspace, source, commit)
            if known is not None:
                return known
            merged = await merging.start(held, source=source, commit=commit, into=workspace.branch)
        return _begun(source, merged.conflicts)

    async def _resolve(self, workspace: Workspace, file: str, strategy: str) -> MergeOutcome:
        if strategy not in STRATEGIES:
            return _refused(f"there is no strategy {strategy!r}: use ours or theirs")
        async with opened(workspace.repository, workspace.worktree) as held:
            now = await merging.standing(held)
            if not now.source:
                return _none()
            if file not in now.conflicts:
                return _refused(f"{file} is not in conflict", conflicts=now.conflicts or None)
            await merging.resolve(held, file, strategy)
            left = await held.unmerged()
        more = f"{len(left)} left" if left else "none left: commit the merge"
        return _done(f"took {strategy} for {file}; {more}", conflicts=left or None)

    async def _commit(self, workspace: Workspace, message: str) -> MergeOutcome:
        async with opened(workspace.repository, workspace.worktree) as held:
            now = await merging.standing(held)
            if not now.source:
                return _none()
            if now.conflicts:
                return _refused(
                    f"there are conflicts left: {_listed(now.conflicts)}",
                    conflicts=now.conflicts,
                )
            made = await merging.commit(
                held,
                branch=workspace.branch,
                message=_message(message, now.source),
                identity=await self._identity(),
            )
        return _done(f"merged {now.source}", made)

    async def _abort(self, workspace: Workspace) -> MergeOutcome:
        async with opened(workspace.repository, workspace.worktree) as held:
            now = await merging.standing(held)
            if not now.source:
                return _none()
        kept = await self._kept(workspace)
        async with opened(workspace.repository, workspace.worktree) as held:
            await merging.abort(held)
        return _done(f"the merge of {now.source} is aborted{kept}")

    async def _kept(self, workspace: Workspace) -> str:
        async with opened(workspace.repository, workspace.worktree) as held:
            if await merging.untouched(held):
                return ""
        async with opened(workspace.repository, workspace.worktree) as held:
            ref = await keeping.save(held, workspace.branch, _ABORTED, await self._identity())
        return f"; what was edited meanwhile is at {ref}" if ref else ""


def check_complete(branches: Sequence[BranchInfo], skips: Sequence[Skip]) -> CompleteCheck:
    """Tell whether an orchestrator may end: all its subtasks are merged or skipped (pure).

    One that is both counts as merged.
    """
    skipped = {skip.subtask for skip in skips}
    merged = [branch for branch in branches if branch.is_merged]
    left_out = [each for each in branches if not each.is_merged and each.task_id in skipped]
    unmerged = tuple(
        each.name for each in branches if not each.is_merged and each.task_id not in skipped
    )
    return CompleteCheck(not unmerged, unmerged, len(merged), len(left_out))


async def _not_to_start(
    held: Linked, workspace: Workspace, source: str, commit: str
) -> MergeOutcome | None:
    """Answer a merge that is not to be started: it is, it cannot be, or there is nothing to."""
    now = await merging.standing(held)
    if now.source:
        return _begun(source, now.conflicts) if now.source == source else _busy(now)
    head = await held.head()
    if head.branch != workspace.branch:
        where = f"on {head.branch}" if head.branch else "at a commit"
        return _refused(
            f"the worktree is {where}, not on {workspace.branch}: git switch {workspace.branch}"
        )
    if await refs.contains(held.repository, head.commit, commit):
        return _done(f"already up to date: {source} is merged", head.commit)
    dirty = await held.tracked_changes(head.commit)
    if dirty:
        return _refused(f"there are uncommitted changes, commit them first: {_listed(dirty)}")
    if held.has("index.lock"):
        return _refused("git is at work in the worktree (index.lock): try again when it is done")
    return None


async def _told(step: Awaitable[MergeOutcome]) -> MergeOutcome:
    try:
        return await step
    except TachikomaError as error:
        hint = f" ({error.hint})" if error.hint else ""
        return _refused(f"{error.message}{hint}")


def _done(
    message: str, commit: str | None = None, *, conflicts: tuple[str, ...] | None = None
) -> MergeOutcome:
    return MergeOutcome(success=True, message=message, commit=commit, conflicts=conflicts)


def _refused(message: str, *, conflicts: tuple[str, ...] | None = None) -> MergeOutcome:
    return MergeOutcome(success=False, message=message, conflicts=conflicts)


def _begun(source: str, conflicts: tuple[str, ...]) -> MergeOutcome:
    if conflicts:
        message = f"{source} is being merged, with {len(conflicts)} files in conflict: settle them"
        return _refused(message, conflicts=conflicts)
    return _done(f"{source} is being merged without conflicts: commit the merge")


def _busy(now: Standing) -> MergeOutcome:
    return _refused(
        f"a merge of {now.source} is in progress: commit or abort it first",
        conflicts=now.conflicts or None,
    )


def _none() -> MergeOutcome:
    return _refused("no merge is in progress")


def _message(text: str, source: str) -> Commit:
    subject, _, body = text.strip().partition("\n")
    return Commit(subject or f"Merge branch '{source}'", body.strip())


def _listed(paths: Sequence[str]) -> str:
    return ", ".join(paths[:_SOME]) + (", ..." if len(paths) > _SOME else "")
