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

    async def identity(self, directory: Path) -> Identity | None:
        """Give the user's name and e-mail as configured for ``directory``; None if not set."""
        ...

    async def head(self, worktree: Path) -> str:
        """Give the commit id of HEAD in ``worktree``."""
        ...
