"""Remotes and a forge that exist only in memory, for flows and for trying things out."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tachikoma.git.port import (
    Commit,
    Identity,
    PullRequest,
    Remote,
    RemoteHeads,
    Repository,
    Worktree,
)
from tachikoma.model.errors import PushFailed
from tachikoma.model.names import mark


@dataclass(slots=True)
class MemoryPublishing:
    """Implements the port ``Publishing``: ``commits`` of each branch beyond the main one, newest
    first, ``changed`` paths of each worktree, and ``pushed`` commit ids of each remote's branches.
    """

    main: str = "main"
    changed: dict[Path, tuple[str, ...]] = field(default_factory=dict)
    commits: dict[str, tuple[Commit, ...]] = field(default_factory=dict)
    pushed: dict[tuple[str, str], str] = field(default_factory=dict)
    branches: set[str] = field(default_factory=set)
    refuses: bool = False

    async def uncommitted(self, repository: Repository, worktree: Path) -> tuple[str, ...]:
        """Give the changed paths."""
        del repository
        return self.changed.get(worktree, ())

    async def stat(self, repository: Repository, worktree: Path) -> str:
        """Give the changed paths, one a line."""
        return "\n".join(f" {path} | 1 +" for path in await self.uncommitted(repository, worktree))

    async def commit_all(
        self, repository: Repository, worktree: Worktree, *, message: Commit, identity: Identity
    ) -> str:
        """Put a commit before the others."""
        del identity
        self.changed.pop(worktree.path, None)
        known = self.commits.get(worktree.branch, ())
        self.commits[worktree.branch] = (message, *known)
        return await self.head(repository, worktree.branch)

    async def head(self, repository: Repository, branch: str) -> str:
        """Give an id that stands for the commits of ``branch``."""
        del repository
        if branch not in self.branches | {self.main}:
            return ""
        return mark(branch, *(each.subject for each in self.commits.get(branch, ())))

    async def heads(self, remote: Remote, branch: str) -> RemoteHeads:
        """Give what was pushed."""
        return RemoteHeads(self.main, mark(self.main), self.pushed.get((remote.url, branch), ""))

    async def ahead(
        self, repository: Repository, branch: str, remote: Remote, heads: RemoteHeads
    ) -> tuple[Commit, ...]:
        """Give the commits of ``branch``."""
        del repository, remote, heads
        return self.commits.get(branch, ())

    async def push(self, repository: Repository, branch: str, remote: Remote, commit: str) -> None:
        """Note it."""
        del repository
        if self.refuses:
            raise PushFailed(f"{remote.url} refuses", hint="log in")
        self.pushed[remote.url, branch] = commit


@dataclass(slots=True)
class MemoryForge:
    """Implements the port ``Forge``: ``opened`` are the pull requests, by branch."""

    absent: bool = False
    opened: dict[str, PullRequest] = field(default_factory=dict)

    def by_hand(self, remote: Remote, branch: str, base: str) -> str:
        """Say where."""
        return f"open {remote.url}: {branch} to {base}"

    async def existing(self, remote: Remote, branch: str) -> str:
        """Give the URL of one that was opened."""
        return f"{remote.url}/pull/{branch}" if branch in self.opened else ""

    async def open(self, remote: Remote, request: PullRequest) -> str:
        """Keep it."""
        if self.absent:
            return ""
        self.opened[request.branch] = request
        return f"{remote.url}/pull/{request.branch}"
