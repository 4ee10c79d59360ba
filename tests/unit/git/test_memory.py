from __future__ import annotations

from pathlib import Path

import pytest

from tachikoma.git.memory import MemoryGit
from tachikoma.git.port import Origin
from tachikoma.model.errors import NotARepositoryError


async def test_a_worktree_that_vanished_is_made_again() -> None:
    git = MemoryGit()
    repository = git.add_repository(Path("/r/repo"))
    made = await git.ensure_worktree(repository, "x", None)
    git.remove_worktree(made.path)
    assert await git.worktree_of(repository, "x") is None
    again = await git.ensure_worktree(repository, "x", None)
    assert (again.path, again.origin) == (made.path, Origin.FROM_LOCAL)


async def test_a_repository_of_another_memory_is_unknown() -> None:
    repository = MemoryGit().add_repository(Path("/r/repo"))
    with pytest.raises(NotARepositoryError):
        await MemoryGit().worktree_of(repository, "main")


async def test_without_an_identity_there_is_none() -> None:
    assert await MemoryGit().identity(Path("/r")) is None
