from __future__ import annotations

import os
from pathlib import Path

import pytest

from tachikoma.git.cli import GitCli
from tachikoma.git.outward import Outward
from tachikoma.git.port import Commit, Identity, Remote
from tachikoma.git.quarantine import quarantine
from tachikoma.host.clock import SystemClock
from tachikoma.model.errors import GitError
from tests.doubles.real_git import commit, git, new_repository
from tests.doubles.task_bench import fingerprint

pytestmark = pytest.mark.live

ADA = Identity("Ada", "ada@example.org")


async def test_a_merge_is_tried_without_a_byte_of_the_users_repository(tmp_path: Path) -> None:
    base = tmp_path.resolve()
    user = new_repository(base / "user")
    git(base, "clone", "-q", str(user), "other")
    old = commit(user, "README", "user\n")
    git(base / "other", "config", "user.name", "Agent")
    git(base / "other", "config", "user.email", "agent@example.org")
    fine = commit(base / "other", "new", "x")
    bad = commit(base / "other", "README", "agent\n")
    before = fingerprint(user)
    target = await GitCli(clock=SystemClock(), locks=base / "locks").repository(user)
    async with quarantine(base / "place", target, Outward(environ=dict(os.environ))) as held:
        await held.take(base / "other" / ".git", bad)
        assert (await held.merge(old, bad)).conflicts == ("README",)
        merged = await held.merge(old, fine)
        assert merged.conflicts == ()
        made = await held.commit(merged.tree, [old, fine], Commit("M", ""), ADA)
        assert await held.contains(made, fine)
        assert not await held.contains(fine, made)
        assert fingerprint(user) == before
        await held.hand_over(made, "result", old="")
        assert git(user, "log", "-1", "--format=%an %s", "result") == "Ada M"
        with pytest.raises(GitError, match="meanwhile"):
            await held.hand_over(made, "main", old=fine)
        git(base, "init", "-q", "--bare", "hub.git")
        assert (await held.push(made, "x", Remote("origin", str(base / "hub.git")))).status == 0
        assert git(base / "hub.git", "rev-parse", "x") == made
    assert list((base / "place").iterdir()) == []


async def test_what_is_missing_is_told(tmp_path: Path) -> None:
    base = tmp_path.resolve()
    user = new_repository(base / "user")
    other = new_repository(base / "other")
    target = await GitCli(clock=SystemClock(), locks=base / "locks").repository(user)
    async with quarantine(base / "place", target, Outward(environ=dict(os.environ))) as held:
        with pytest.raises(GitError, match="do not pass"):
            await held.take(other / ".git", "1" * 40)
        git(other, "switch", "-q", "--orphan", "lone")
        lone = commit(other, "lone", "x")
        await held.take(other / ".git", lone)
        with pytest.raises(GitError, match="unrelated histories"):
            await held.merge(git(user, "rev-parse", "HEAD"), lone)
