"""Repositories that exist only in memory, for flows and for trying things out."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from tachikoma.git.port import Identity, Origin, Remote, Repository, Worktree
from tachikoma.model.errors import (
    BranchNameError,
    DetachedHeadError,
    EmptyRepositoryError,
    NotARepositoryError,
    WorktreeError,
)
from tachikoma.model.names import mark, slugify

_BAD_NAME = re.compile(
    r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(/|$)|^[-./]|[./]$|^(@|HEAD)?$"
)


@dataclass(slots=True)
class _Memory:
    repository: Repository
    commit: str
    heads: dict[Path, str | None]
    branches: dict[str, str]
    remotes: dict[str, dict[str, str]] = field(default_factory=dict)


class MemoryGit:
    """Implements the port ``Git`` without git and without files."""

    def __init__(self, *, identity: Identity | None = None) -> None:
        self._identity = identity
        self.urls: tuple[str, ...] = ()
        """What the remotes of every repository are said to be."""
        self._all: list[_Memory] = []
        self.remote_urls: dict[Path, str] = {}

    def add_repository(
        self, path: Path, *, branch: str | None = "main", commit: str | None = None
    ) -> Repository:
        """Make a repository with its main worktree at ``path``, on ``branch`` (None: detached).

        ``commit`` is what the branch is at; "" means that there is none yet.
        """
        first = (mark(str(path)) * 7)[:40] if commit is None else commit
        repository = Repository(path.name, path / ".git", path)
        branches = {branch: first} if branch is not None and first else {}
        self._all.append(_Memory(repository, first, {path: branch}, branches))
        return repository

    def add_branch(self, repository: Repository, branch: str, *, remote: str = "") -> None:
        """Make a branch at the repository's first commit, local or on a remote."""
        memory = self._memory(repository)
        branches = memory.remotes.setdefault(remote, {}) if remote else memory.branches
        branches[branch] = memory.commit

    def remove_worktree(self, path: Path) -> None:
        """Let a linked worktree vanish."""
        for memory in self._all:
            memory.heads.pop(path, None)

    async def repository(self, directory: Path) -> Repository:
        """Find the repository that ``directory`` is in."""
        return self._at(directory)[0].repository

    async def current_branch(self, directory: Path) -> str:
        """Give the branch checked out there."""
        memory, worktree = self._at(directory)
        branch = memory.heads[worktree]
        if branch is None:
            raise DetachedHeadError("HEAD is at a commit", hint="name the branch")
        if branch not in memory.branches:
            raise EmptyRepositoryError("there is no commit yet", hint="make a first commit")
        return branch

    async def check_branch_name(self, branch: str) -> None:
        """Refuse what git would refuse."""
        if _BAD_NAME.search(branch):
            raise BranchNameError(f"git does not accept {branch!r}", hint="choose another name")

    async def worktree_of(self, repository: Repository, branch: str) -> Worktree | None:
        """Find where ``branch`` is checked out."""
        heads = self._memory(repository).heads
        found = next((path for path, head in heads.items() if head == branch), None)
        return None if found is None else Worktree(branch, found, Origin.EXISTING)

    async def ensure_worktree(
        self, repository: Repository, branch: str, parent: Path | None
    ) -> Worktree:
        """Give the worktree of ``branch``, made if need be."""
        await self.check_branch_name(branch)
        memory = self._memory(repository)
        if not memory.commit:
            raise EmptyRepositoryError("there is no commit yet", hint="make a first commit")
        if (found := await self.worktree_of(repository, branch)) is not None:
            return found
        origin, start = self._start(memory, branch)
        path = _place(memory, branch, parent)
        memory.heads[path] = branch
        return Worktree(branch, path, origin, start)

    async def branches(self, repository: Repository) -> tuple[str, ...]:
        """Give the names of all local branches, sorted."""
        return tuple(sorted(self._memory(repository).branches))

    async def remote(self, repository: Repository) -> Remote | None:
        """Give what ``remote_urls`` holds for it."""
        url = self.remote_urls.get(repository.git_dir)
        return None if url is None else Remote("origin", url)

    async def identity(self, directory: Path) -> Identity | None:
        """Give what the constructor was given."""
        del directory
        return self._identity

    async def urls_of_remotes(self, directory: Path) -> tuple[str, ...]:
        """Give ``urls``."""
        del directory
        return self.urls

    async def head(self, worktree: Path) -> str:
        """Give the commit id of HEAD in ``worktree``."""
        memory, at = self._at(worktree)
        if not memory.commit:
            raise EmptyRepositoryError("there is no commit yet", hint="make a first commit")
        return memory.branches.get(memory.heads[at] or "", memory.commit)

    def _start(self, memory: _Memory, branch: str) -> tuple[Origin, str]:
        if branch in memory.branches:
            return Origin.FROM_LOCAL, ""
        having = [name for name, branches in memory.remotes.items() if branch in branches]
        if len(having) > 1 and "origin" not in having:
            raise WorktreeError(f"several remotes have {branch}", hint="choose one")
        if having:
            remote = "origin" if "origin" in having else having[0]
            memory.branches[branch] = memory.remotes[remote][branch]
            return Origin.FROM_REMOTE, f"{remote}/{branch}"
        head = memory.heads[memory.repository.root]
        memory.branches[branch] = memory.branches.get(head or "", memory.commit)
        return Origin.FROM_HEAD, memory.branches[branch]

    def _at(self, directory: Path) -> tuple[_Memory, Path]:
        for memory in self._all:
            for worktree in memory.heads:
                if directory.is_relative_to(worktree):
                    return memory, worktree
        raise NotARepositoryError(f"{directory} is in no repository", hint="git init")

    def _memory(self, repository: Repository) -> _Memory:
        for memory in self._all:
            if memory.repository == repository:
                return memory
        raise NotARepositoryError(f"there is no {repository.git_dir}", hint="git init")


def _place(memory: _Memory, branch: str, parent: Path | None) -> Path:
    repository = memory.repository
    simple = (parent or repository.root.parent) / f"{repository.name}-{slugify(branch)}"
    return (
        simple if simple not in memory.heads else simple.with_name(f"{simple.name}-{mark(branch)}")
    )
