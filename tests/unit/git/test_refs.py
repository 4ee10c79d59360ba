from __future__ import annotations

from pathlib import Path

import pytest

from tachikoma.git import refs
from tachikoma.model.errors import GitError
from tests.doubles.real_git import commit, git, new_repository

pytestmark = pytest.mark.live


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return new_repository(tmp_path.resolve() / "repo")


async def test_a_name_stands_for_a_commit_or_nothing(repo: Path) -> None:
    assert await refs.commit_of(repo / ".git", "main") == git(repo, "rev-parse", "main")
    assert await refs.commit_of(repo / ".git", "nope") == ""
    assert await refs.commit_of(repo / ".git", "--git-dir") == ""
    assert await refs.commit_of(repo / ".git", "a\0b") == ""


async def test_one_commit_contains_another_as_its_parents_say(repo: Path) -> None:
    first = git(repo, "rev-parse", "main")
    second = commit(repo, "x", "x")
    assert await refs.contains(repo / ".git", second, first)
    assert not await refs.contains(repo / ".git", first, second)
    # What a guest says of a commit's parents does not count.
    git(repo, "replace", "--graft", second)
    assert await refs.contains(repo / ".git", second, first)
    assert await refs.subject(repo / ".git", second) == "Change x"


async def test_a_ref_moves_only_from_where_it_was_seen(repo: Path) -> None:
    first = git(repo, "rev-parse", "main")
    second = commit(repo, "x", "x")
    await refs.move(repo / ".git", "refs/heads/y", first, "")
    for old in ("", second):
        with pytest.raises(GitError):
            await refs.move(repo / ".git", "refs/heads/y", second, old)
    await refs.move(repo / ".git", "refs/heads/y", second, first)
    assert await refs.branches(repo / ".git") == {"refs/heads/main": second, "refs/heads/y": second}
