from __future__ import annotations

from pathlib import Path

import pytest

from tachikoma.git.memory_publishing import MemoryForge, MemoryPublishing
from tachikoma.git.port import Commit, Identity, Origin, Remote, Repository, Worktree
from tachikoma.model.errors import PushFailed

REPOSITORY = Repository("app", Path("/src/app/.git"), Path("/src/app"))
WORKTREE = Worktree("x", Path("/src/app-x"), Origin.EXISTING)
HUB = Remote("origin", "https://hub/app")


async def test_a_commit_takes_what_is_uncommitted_and_a_push_what_is_committed() -> None:
    git = MemoryPublishing(changed={WORKTREE.path: ("a",)}, branches={"x"})
    before = await git.head(REPOSITORY, "x")
    assert await git.stat(REPOSITORY, WORKTREE.path) == " a | 1 +"
    made = await git.commit_all(
        REPOSITORY, WORKTREE, message=Commit("Do it", ""), identity=Identity("A", "a@b")
    )
    assert made not in ("", before)
    assert await git.uncommitted(REPOSITORY, WORKTREE.path) == ()
    await git.push(REPOSITORY, "x", HUB, made)
    assert (await git.heads(HUB, "x")).branch_commit == made
    assert await git.head(REPOSITORY, "y") == ""


async def test_a_remote_that_refuses_refuses() -> None:
    with pytest.raises(PushFailed):
        await MemoryPublishing(refuses=True).push(REPOSITORY, "x", HUB, "a")


async def test_an_absent_forge_opens_nothing() -> None:
    forge = MemoryForge(absent=True)
    assert await forge.existing(HUB, "x") == ""
    assert forge.by_hand(HUB, "x", "main") == "open https://hub/app: x to main"
