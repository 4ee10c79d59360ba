"""What happens with a task's branch once the task is done: pushed, merged, or proposed.

The target is the user's own repository. What fails leaves it as it was, and the branch where it
is; every action can be repeated.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tachikoma.git import landing, outward, refs, remotes
from tachikoma.git.outward import CLONE_S, Outward
from tachikoma.git.port import (
    Commit,
    Forge,
    Git,
    Identity,
    PullRequest,
    Remote,
    RemoteHeads,
    Repository,
)
from tachikoma.git.publishing import decode_heads
from tachikoma.git.quarantine import Quarantine, quarantine
from tachikoma.host.alone import alone
from tachikoma.host.clock import Clock
from tachikoma.makima.record import Workspace
from tachikoma.makima.tasks.port import ActionOutcome
from tachikoma.model.errors import TachikomaError
from tachikoma.model.errors_fleet import WorkspaceError
from tachikoma.model.names import mark

ACTIONS = ("none", "branch", "merge", "pr")
_SOME = 5
_SHORT = 12


@dataclass(frozen=True, slots=True)
class _Work:
    """A task's branch at ``tip``, on its way to ``target``."""

    name: str
    workspace: Workspace
    tip: str
    target: Repository
    target_branch: str | None

    @property
    def branch(self) -> str:
        return self.workspace.branch


class Completion:
    """Implements the port ``Actions``.

    Args:
        place: a directory no guest can write to, for what is checked on its way.
        own: the daemon's directories, which are no targets.
        commit_rest: commits what is left in a worktree, under a subject.
        identity: whom merges are by.
        environ: the user's environment, for git to go to remotes with.
    """

    def __init__(  # noqa: PLR0913 - what the composition root joins
        self,
        *,
        git: Git,
        forge: Forge,
        clock: Clock,
        place: Path,
        own: tuple[Path, ...],
        commit_rest: Callable[[Workspace, str], Awaitable[str]],
        identity: Callable[[], Awaitable[Identity]],
        environ: Mapping[str, str],
    ) -> None:
        self._git = git
        self._forge = forge
        self._clock = clock
        self._place = place
        self._own = own
        self._commit_rest = commit_rest
        self._identity = identity
        self._outward = Outward(environ=environ)

    async def act(
        self,
        action: str,
        workspace: Workspace,
        *,
        name: str,
        target_repo: Path | None,
        target_branch: str | None,
    ) -> ActionOutcome:
        """Do ``action`` with the branch of a task called ``name``. Idempotent; raises nothing for
        what a person can put right.
        """
        if action not in ACTIONS:
            known = ", ".join(ACTIONS)
            return _refused(f"there is no completion action {action!r} ({known})")
        try:
            if workspace.worktree.is_dir():
                await self._commit_rest(workspace, name)
            if action == "none":
                return _done(f"the work is on {workspace.branch}")
            target = await self._target(target_repo)
            async with self._alone(target):
                work = await self._work(workspace, name, target, target_branch)
                return await self._do(action, work)
        except TachikomaError as error:
            told = f"{error.message} ({error.hint})" if error.hint else error.message
            return _refused(told)

    async def _do(self, action: str, work: _Work) -> ActionOutcome:
        self._place.mkdir(parents=True, exist_ok=True)
        async with quarantine(self._place, work.target, self._outward) as held:
            await held.take(work.workspace.repository, work.tip)
            match action:
                case "branch":
                    return await self._push_here(held, work)
                case "merge":
                    return await self._merge(held, work)
                case _:
                    return await self._propose(held, work)

    async def _push_here(self, held: Quarantine, work: _Work) -> ActionOutcome:
        root = work.target.root
        there = await refs.commit_of(work.target.git_dir, f"refs/heads/{work.branch}")
        if there == work.tip:
            return _done(f"{root} has {work.branch} already")
        checked_out = await self._git.worktree_of(work.target, work.branch)
        if checked_out is not None:
            raise WorkspaceError(
                f"{work.branch} is checked out at {checked_out.path}",
                hint="switch it to another branch, then run the action again",
            )
        if there and not await held.contains(work.tip, there):
            raise WorkspaceError(
                f"{work.branch} in {root} has commits that the task's branch has not",
                hint="rename or remove that branch, then run the action again",
            )
        clashing = clash(work.branch, await self._git.branches(work.target))
        if clashing:
            raise WorkspaceError(
                f"git cannot have both a branch {clashing} and a branch {work.branch} in {root}",
                hint="rename that branch, then run the action again",
            )
        await held.hand_over(work.tip, work.branch, old=there)
        return _done(f"pushed {work.branch} to {root}")

    async def _merge(self, held: Quarantine, work: _Work) -> ActionOutcome:
        root = work.target.root
        branch = work.target_branch or await self._git.current_branch(root)
        old = await refs.commit_of(work.target.git_dir, f"refs/heads/{branch}")
        if not old:
            raise await self._no_branch(work.target, branch)
        tree = await self._git.worktree_of(work.target, branch)
        if await held.contains(old, work.tip):
            await landing.finish(work.target, tree.path if tree else None, commit=old)
            return _done(f"{branch} in {root} has all of {work.branch} already")
        merged = await held.merge(old, work.tip)
        if not merged.clean:
            files = ", ".join(merged.conflicts) or "directories that both have renamed"
            raise WorkspaceError(
                f"{work.branch} conflicts with {branch} in {root}: {files}",
                hint=f"nothing was changed there; merge {branch} into the task's branch first",
            )
        message = Commit(f"Merge {work.branch}: {work.name}", "")
        new = await held.commit(merged.tree, [old, work.tip], message, await self._identity())
        await landing.land(
            held, work.target, tree.path if tree else None, branch=branch, old=old, new=new
        )
        return _done(f"merged {work.branch} into {branch} of {root}: {new[:_SHORT]}")

    async def _propose(self, held: Quarantine, work: _Work) -> ActionOutcome:
        remote = await self._git.remote(work.target)
        if remote is None:
            raise WorkspaceError(
                f"{work.target.root} has no remote to open a pull request at",
                hint="add one: git remote add origin URL",
            )
        remotes.check(remote)
        heads = await self._heads(remote, work.branch)
        base = work.target_branch or heads.main
        if not base:
            raise WorkspaceError(
                f"{remotes.shown(remote.url)} does not say which branch is its main one",
                hint="set targetBranch",
            )
        if heads.branch_commit != work.tip:
            done = await held.push(work.tip, work.branch, remote)
            if done.status != 0:
                raise outward.unreachable(remote.url, done)
        url = await self._forge.existing(remote, work.branch)
        if url:
            return _done(f"{url} is open, and has the commits", url)
        asked = PullRequest(work.branch, base, work.name, "")
        url = await self._forge.open(remote, asked)
        if url:
            return _done(f"opened {url}", url)
        by_hand = self._forge.by_hand(remote, work.branch, base)
        return _refused(
            f"{work.branch} is pushed; no program here opens the pull request: {by_hand}"
        )

    async def _heads(self, remote: Remote, branch: str) -> RemoteHeads:
        arguments = ["ls-remote", "--symref", "--", remote.url, "HEAD", f"refs/heads/{branch}"]
        done = await self._outward.git(arguments)
        if done.status != 0:
            raise outward.unreachable(remote.url, done)
        return decode_heads(done.text, branch)

    async def _work(
        self, workspace: Workspace, name: str, target: Repository, target_branch: str | None
    ) -> _Work:
        tip = await refs.commit_of(workspace.repository, f"refs/heads/{workspace.branch}")
        if not tip:
            raise WorkspaceError(
                f"there is no branch {workspace.branch} in {workspace.repository}",
                hint="the agent may have removed it",
            )
        return _Work(name, workspace, tip, target, target_branch)

    async def _target(self, target_repo: Path | None) -> Repository:
        if target_repo is None:
            raise WorkspaceError(
                "no repository is named for the completion action",
                hint="set targetRepoPath, or worktree.default_target_repo in the configuration",
            )
        path = _expanded(target_repo)
        if any(path.resolve().is_relative_to(each.resolve()) for each in self._own):
            raise WorkspaceError(
                f"{path} is in the daemon's own directories",
                hint="name a repository of yours",
            )
        return await self._git.repository(path)

    @asynccontextmanager
    async def _alone(self, target: Repository) -> AsyncIterator[None]:
        lock = self._place / f"target-{mark(str(target.git_dir))}.lock"
        async with alone(lock, clock=self._clock, deadline_s=CLONE_S):
            yield

    async def _no_branch(self, target: Repository, branch: str) -> WorkspaceError:
        known = await self._git.branches(target)
        some = ", ".join(known[:_SOME]) + (", ..." if len(known) > _SOME else "")
        return WorkspaceError(
            f"{target.root} has no branch {branch}", hint=f"there are {some}" if known else ""
        )


def clash(branch: str, known: Iterable[str]) -> str:
    """Give a branch within whose name ``branch`` would be, or the other way round (pure)."""
    return next((x for x in known if x.startswith(f"{branch}/") or branch.startswith(f"{x}/")), "")


def _expanded(path: Path) -> Path:
    try:
        given = path.expanduser()
    except RuntimeError:
        given = path
    if not given.is_absolute() or "\0" in str(given):
        raise WorkspaceError(
            f"{str(path)!r} is no whole path", hint="give the whole path of the target repository"
        )
    return given


def _done(message: str, pr_url: str | None = None) -> ActionOutcome:
    return ActionOutcome(success=True, message=message, pr_url=pr_url)


def _refused(message: str) -> ActionOutcome:
    return ActionOutcome(success=False, message=message)
