"""What the heart needs from git on the host."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository as the host sees it.

    ``name`` is the directory name of the main worktree (of a bare repository its own, without
    ``.git``); ``git_dir`` the absolute path of the common git directory, which every worktree's
    ``.git`` file leads to; ``main_worktree`` is None for a bare repository.
    """

    name: str
    git_dir: Path
    main_worktree: Path | None

    @property
    def root(self) -> Path:
        """The main worktree, or the bare repository itself."""
        return self.main_worktree or self.git_dir


class Origin(StrEnum):
    """How a worktree came to be there."""

    EXISTING = "existing"
    FROM_LOCAL = "from_local"
    FROM_REMOTE = "from_remote"
    FROM_HEAD = "from_head"


@dataclass(frozen=True, slots=True)
class Worktree:
    """A branch checked out at ``path`` (absolute, resolved); ``start`` names what a new branch
    was made from (a remote-tracking branch or a commit), "" for one that existed.
    """

    branch: str
    path: Path
    origin: Origin
    start: str = ""


@dataclass(frozen=True, slots=True)
class Identity:
    """Name and e-mail address that commits of this user carry."""

    name: str
    email: str


@dataclass(frozen=True, slots=True)
class Remote:
    """Where a repository's branches are pushed to. ``url`` is as git has it, a local path whole."""

    name: str
    url: str


@dataclass(frozen=True, slots=True)
class Commit:
    """What a commit says."""

    subject: str
    body: str


@dataclass(frozen=True, slots=True)
class RemoteHeads:
    """What a remote has: its main branch, and the commits of that and of another one ("" none)."""

    main: str
    main_commit: str
    branch_commit: str


class Git(Protocol):
    """Git on the host. Nothing that a guest may have written to ``.git`` is executed."""

    async def repository(self, directory: Path) -> Repository:
        """Find the repository that ``directory`` is in.

        Raises:
            NotARepositoryError: it is in none, or git refuses it (the hint says why).
        """
        ...

    async def current_branch(self, directory: Path) -> str:
        """Give the branch checked out in the worktree that ``directory`` is in.

        Raises:
            DetachedHeadError: HEAD is at a commit.
            EmptyRepositoryError: the repository has no commit.
            NotARepositoryError: no worktree there (a bare repository).
        """
        ...

    async def check_branch_name(self, branch: str) -> None:
        """Raise BranchNameError unless git would take ``branch`` as the name of a branch."""
        ...

    async def worktree_of(self, repository: Repository, branch: str) -> Worktree | None:
        """Find where ``branch`` is checked out, if anywhere (its directory exists)."""
        ...

    async def ensure_worktree(
        self, repository: Repository, branch: str, parent: Path | None
    ) -> Worktree:
        """Give the worktree of ``branch``, made if need be. Idempotent.

        Checked out already (also in the main worktree): that one. A local branch: a new linked
        worktree in ``parent`` (None: beside the repository), called ``<repo>-<branch-slug>``.
        On exactly one remote: a local branch that tracks it. Nowhere: a new branch from HEAD.

        Raises:
            BranchNameError: git does not accept the name.
            EmptyRepositoryError: there is no commit to start from.
            WorktreeError: the directory is taken by something else, or git refused.
            DiskFullError: nothing half-done is left.
        """
        ...

    async def branches(self, repository: Repository) -> tuple[str, ...]:
        """Give the names of all local branches, sorted."""
        ...

    async def remote(self, repository: Repository) -> Remote | None:
        """Say where its branches are pushed to: ``origin`` or its only remote; None without one.

        Read from a file that a guest may have written: compare it before anything is sent there.
        """
        ...

    async def identity(self, directory: Path) -> Identity | None:
        """Give the user's name and e-mail as configured for ``directory``; None if not set."""
        ...

    async def urls_of_remotes(self, directory: Path) -> tuple[str, ...]:
        """Give the URLs of the remotes of the repository in ``directory``.

        A guest can write them: they are for a person to look at, not to be trusted.
        """
        ...

    async def head(self, worktree: Path) -> str:
        """Give the commit id of HEAD in ``worktree``."""
        ...


class Publishing(Protocol):
    """Committing on the host what a guest has left, and sending a branch to a remote.

    Nothing that a guest may have written to ``.git`` is executed: no hook, no filter, no helper.
    """

    async def uncommitted(self, repository: Repository, worktree: Path) -> tuple[str, ...]:
        """Give the paths that a commit of everything would change.

        Raises:
            GitError: a merge, rebase or the like is under way there.
        """
        ...

    async def stat(self, repository: Repository, worktree: Path) -> str:
        """Give the diff stat of what is uncommitted. Stages it."""
        ...

    async def commit_all(
        self, repository: Repository, worktree: Worktree, *, message: Commit, identity: Identity
    ) -> str:
        """Commit everything that is not ignored; gives the commit id. All or nothing.

        Raises:
            GitError: the branch has moved meanwhile, or git refused.
        """
        ...

    async def head(self, repository: Repository, branch: str) -> str:
        """Give the commit id of a local branch; "" if there is none."""
        ...

    async def heads(self, remote: Remote, branch: str) -> RemoteHeads:
        """Ask the remote what it has.

        Raises:
            PushFailed: it does not answer, or does not let this user in.
        """
        ...

    async def ahead(
        self, repository: Repository, branch: str, remote: Remote, heads: RemoteHeads
    ) -> tuple[Commit, ...]:
        """Give the commits of ``branch`` that the remote's main branch has not, newest first."""
        ...

    async def push(self, repository: Repository, branch: str, remote: Remote, commit: str) -> None:
        """Send ``commit`` to the remote as ``branch``, never by force.

        Raises:
            PushFailed: it was not taken; details hold what git said.
        """
        ...


@dataclass(frozen=True, slots=True)
class PullRequest:
    """What is proposed, to which main branch."""

    branch: str
    base: str
    title: str
    body: str


class Forge(Protocol):
    """Where pull requests are opened."""

    def by_hand(self, remote: Remote, branch: str, base: str) -> str:
        """Say how a person opens the pull request."""
        ...

    async def existing(self, remote: Remote, branch: str) -> str:
        """Give the URL of the open pull request of ``branch``; "" if there is none, or nobody can
        tell.
        """
        ...

    async def open(self, remote: Remote, request: PullRequest) -> str:
        """Open a pull request and give its URL; "" if there is no program here that could.

        Raises:
            PullRequestFailed: the forge refused; the hint says how by hand.
        """
        ...
