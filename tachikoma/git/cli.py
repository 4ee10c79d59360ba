"""Git by its command line."""

from __future__ import annotations

import re
from pathlib import Path

from tachikoma.git import invocation, worktrees
from tachikoma.git.making import Maker
from tachikoma.git.port import Identity, Origin, Remote, Repository, Worktree
from tachikoma.git.worktrees import Entry
from tachikoma.host.clock import Clock
from tachikoma.model.errors import (
    BranchNameError,
    DetachedHeadError,
    EmptyRepositoryError,
    GitError,
    NotARepositoryError,
    WorktreeError,
)

_PLAINLY_NOT_BARE = re.compile(r"^\s*bare\s*=\s*false\s*$", re.IGNORECASE | re.MULTILINE)
_ANY_BARE = re.compile(r"\bbare\b|\[\s*include", re.IGNORECASE)


class GitCli:
    """Implements the port ``Git`` with the program ``git`` (2.36 or later).

    Args:
        clock: for waiting until another process has made its worktree.
        locks: a directory no guest can write to, for one lock file a repository.
    """

    def __init__(self, *, clock: Clock, locks: Path) -> None:
        self._maker = Maker(clock=clock, locks=locks)

    async def repository(self, directory: Path) -> Repository:
        """Find the repository that ``directory`` is in: one call of git.

        A second one only where a linked worktree's repository might be bare.

        Raises:
            NotARepositoryError: it is in none, or git refuses it (the hint says why).
        """
        if not directory.is_dir():
            raise NotARepositoryError(
                f"there is no directory {directory}", hint="change to a repository"
            )
        wanted = ["--is-bare-repository", "--git-common-dir", "--git-dir", "--show-toplevel"]
        arguments = ["rev-parse", "--path-format=absolute", *wanted]
        done = await invocation.git(arguments, cwd=directory, accepted=(0, 128))
        lines = done.text.splitlines()
        if len(lines) < 3:
            invocation.refuse(arguments, invocation.words_of(done), directory)
        if len(lines) > 4:
            raise NotARepositoryError(
                f"the path of the repository at {directory} holds a line break",
                hint="rename its directory",
            )
        common, own = (Path(line).resolve() for line in lines[1:3])
        toplevel = Path(lines[3]).resolve() if len(lines) == 4 else None
        if lines[0] == "true" or (own != common and await self._is_bare(common)):
            return _repository(common, None)
        return _repository(common, _main_worktree(common, toplevel if own == common else None))

    async def current_branch(self, directory: Path) -> str:
        """Give the branch checked out in the worktree that ``directory`` is in: one call.

        Raises:
            DetachedHeadError: HEAD is at a commit.
            EmptyRepositoryError: the repository has no commit.
            NotARepositoryError: no worktree there (a bare repository).
        """
        arguments = ["rev-parse", "--is-inside-work-tree", "--symbolic-full-name", "HEAD"]
        done = await invocation.git(arguments, cwd=directory, accepted=(0, 128))
        inside, _, ref = done.text.partition("\n")
        if inside == "false":
            raise NotARepositoryError(
                f"{directory} is in no worktree, so there is no current branch",
                hint="name the branch: `tachikoma spawn BRANCH`",
            )
        if done.status != 0:
            if inside == "true":
                raise _empty(directory)
            invocation.refuse(arguments, invocation.words_of(done), directory)
        if not ref.startswith("refs/heads/"):
            raise DetachedHeadError(
                f"HEAD of {directory} is at a commit, not on a branch",
                hint="name the branch: `tachikoma spawn BRANCH`, or make one: `git switch -c NAME`",
            )
        return ref.removeprefix("refs/heads/")

    async def check_branch_name(self, branch: str) -> None:
        """Raise BranchNameError unless git would take ``branch`` as the name of a branch."""
        # @ stands for HEAD, yet git 2.39 would let it pass.
        if branch not in ("", "@") and not branch.startswith("-") and "\0" not in branch:
            # Away from every repository, where @{-1} would stand for another branch's name.
            done = await invocation.git(
                ["check-ref-format", "--branch", branch], cwd=Path("/"), accepted=(0, 1, 128)
            )
            if done.status == 0 and done.text == branch:
                return
        raise BranchNameError(
            f"git does not accept {branch!r} as the name of a branch",
            hint="leave out spaces, ~ ^ : ? * [ \\ .. @{ and a leading dash; "
            "no part may begin with a dot or end in one or in .lock",
        )

    async def worktree_of(self, repository: Repository, branch: str) -> Worktree | None:
        """Find where ``branch`` is checked out, if anywhere (its directory exists): one call."""
        entry = await self._maker.find(repository, branch)
        if entry is None or entry.unfinished or not worktrees.is_genuine(repository, entry.path):
            return None
        return Worktree(branch, entry.path, Origin.EXISTING)

    async def ensure_worktree(
        self, repository: Repository, branch: str, parent: Path | None
    ) -> Worktree:
        """Give the worktree of ``branch``, made if need be. One call of git if it is there.

        Only one process makes worktrees of a repository at a time. One that was killed
        meanwhile leaves a worktree locked by git with our reason; the next call goes on there.

        Raises:
            BranchNameError: git does not accept the name.
            EmptyRepositoryError: there is no commit to start from.
            WorktreeError: the directory is taken by something else, or git refused.
            DiskFullError: nothing half-done is left.
        """
        entry = await self._maker.find(repository, branch)
        if entry is not None and (found := _usable(repository, entry)):
            return found
        await self.check_branch_name(branch)
        async with self._maker.alone(repository):
            return await self._make(repository, branch, parent)

    async def branches(self, repository: Repository) -> tuple[str, ...]:
        """Give the names of all local branches, sorted: one call."""
        done = await invocation.git(
            ["for-each-ref", "--format=%(refname:lstrip=2)", "refs/heads/"],
            cwd=repository.root,
            git_dir=repository.git_dir,
        )
        return tuple(sorted(done.text.splitlines()))

    async def remote(self, repository: Repository) -> Remote | None:
        """Say where its branches are pushed to: one call."""
        done = await invocation.git(
            ["config", "-z", "--get-regexp", r"^remote\..*\.(push)?url$"],
            cwd=repository.root,
            git_dir=repository.git_dir,
            accepted=(0, 1),
        )
        from tachikoma.git.remotes import decode_remote  # only a new VM and `pr` need it

        return decode_remote(done.text, repository.root)

    async def identity(self, directory: Path) -> Identity | None:
        """Give the user's name and e-mail as configured for ``directory``; None if not set."""
        done = await invocation.git(
            ["config", "-z", "--get-regexp", r"^user\.(name|email)$"],
            cwd=directory,
            accepted=(0, 1),
        )
        pairs = dict(item.partition("\n")[::2] for item in done.text.split("\0") if item)
        name, email = pairs.get("user.name", ""), pairs.get("user.email", "")
        return Identity(name, email) if name and email else None

    async def urls_of_remotes(self, directory: Path) -> tuple[str, ...]:
        """Give the URLs of the remotes of the repository in ``directory``.

        A guest can write them: they are for a person to look at, not to be trusted.
        """
        done = await invocation.git(
            ["config", "-z", "--get-regexp", r"^remote\..*\.(url|pushurl)$"],
            cwd=directory,
            accepted=(0, 1),
        )
        return tuple(item.partition("\n")[2] for item in done.text.split("\0") if item)

    async def head(self, worktree: Path) -> str:
        """Give the commit id of HEAD in ``worktree``.

        Raises:
            EmptyRepositoryError: there is no commit yet.
        """
        done = await invocation.git(
            ["rev-parse", "--quiet", "--verify", "HEAD^{commit}"], cwd=worktree, accepted=(0, 1)
        )
        if done.status != 0:
            raise _empty(worktree)
        return done.text

    async def _make(self, repository: Repository, branch: str, parent: Path | None) -> Worktree:
        entry = await self._maker.find(repository, branch)
        if entry is not None:
            if found := _usable(repository, entry):
                return found
            if entry.path.exists():
                await self._maker.finish(repository, entry)
                return Worktree(branch, entry.path, Origin.EXISTING)
            await self._maker.forget_vanished(repository, entry)
        return await self._maker.make(repository, branch, parent)

    async def _is_bare(self, common: Path) -> bool:
        """Tell whether the repository of a linked worktree is bare, without git if it is plain."""
        try:
            config = (common / "config").read_text(encoding="utf-8", errors="replace")
        except OSError:
            config = ""
        if _PLAINLY_NOT_BARE.search(config) and len(_ANY_BARE.findall(config)) == 1:
            return False
        done = await invocation.git(
            ["rev-parse", "--is-bare-repository"], cwd=common, git_dir=common
        )
        return done.text == "true"


def _usable(repository: Repository, entry: Entry) -> Worktree | None:
    """Give the worktree if it is whole, None if it is to be made.

    Raises:
        EmptyRepositoryError, WorktreeError: it is there and cannot be used.
    """
    if entry.unborn:
        raise _empty(entry.path)
    if not entry.path.exists():
        return None
    if not worktrees.is_genuine(repository, entry.path):
        raise WorktreeError(
            f"git says that {entry.branch} is checked out at {entry.path}, "
            "but what is there is no worktree of this repository",
            hint="if the repository was moved, run `git worktree repair` in it; "
            "else remove the stale entry with `git worktree prune`",
        )
    return None if entry.unfinished else Worktree(entry.branch, entry.path, Origin.EXISTING)


def _repository(git_dir: Path, main_worktree: Path | None) -> Repository:
    if main_worktree is not None:
        return Repository(main_worktree.name or "root", git_dir, main_worktree)
    name = git_dir.parent.name if git_dir.name == ".git" else git_dir.name.removesuffix(".git")
    return Repository(name or "root", git_dir, None)


def _main_worktree(common: Path, toplevel: Path | None) -> Path | None:
    """Find the main worktree; ``toplevel`` is git's word for it if asked from within.

    Not from ``core.worktree`` alone, which a guest can write: the directory must lead back.
    """
    beside = common.parent if common.name == ".git" else None
    for candidate in (beside, toplevel):
        if candidate is not None and worktrees.git_dir_of(candidate) == common:
            return candidate
    return None


def _empty(where: Path) -> GitError:
    return EmptyRepositoryError(
        f"the repository at {where} has no commit yet",
        hint="make a first commit: git commit --allow-empty -m start",
    )
