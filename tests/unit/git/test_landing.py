from __future__ import annotations

import os
from pathlib import Path

import pytest

from tachikoma.git.cli import GitCli
from tachikoma.git.landing import decode_filters, finish, land
from tachikoma.git.outward import Outward
from tachikoma.git.quarantine import quarantine
from tachikoma.host.clock import SystemClock
from tachikoma.host.process import Completed
from tachikoma.model.errors import GitError
from tests.doubles.real_git import commit, git, new_repository
from tests.doubles.task_bench import fingerprint


def test_filters_of_the_repository_are_told_from_the_users() -> None:
    raw = b"global\0filter.lfs.smudge\nx\0local\0filter.a.b.smudge\ny\0worktree\0filter.c.process\0"
    assert decode_filters(Completed(("git",), 0, raw, b"")) == (
        {"filter.a.b", "filter.c"},
        {"filter.lfs"},
    )


class Bench:
    """A user's repository, and a commit for its main branch in another one."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.user = new_repository(base / "user")
        commit(self.user, "code", "one\n")
        commit(self.user, "gone", "x\n")
        self.old = git(self.user, "rev-parse", "HEAD")
        git(base, "clone", "-q", str(self.user), "other")
        other = base / "other"
        git(other, "config", "user.name", "Agent")
        git(other, "config", "user.email", "agent@example.org")
        git(other, "rm", "-q", "gone")
        commit(other, "code", "two\n")
        (other / "deep").mkdir()
        self.new = commit(other, "deep/new", "new\n")

    async def land(self, worktree: Path | None, old: str = "") -> None:
        target = await GitCli(clock=SystemClock(), locks=self.base / "locks").repository(self.user)
        outward = Outward(environ=dict(os.environ))
        async with quarantine(self.base / "place", target, outward) as held:
            await held.take(self.base / "other" / ".git", self.new)
            await land(held, target, worktree, branch="main", old=old or self.old, new=self.new)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path.resolve())


@pytest.mark.live
async def test_the_branch_and_its_files_move_together(bench: Bench) -> None:
    await bench.land(bench.user)
    assert git(bench.user, "rev-parse", "main") == bench.new
    assert git(bench.user, "status", "--porcelain") == ""
    assert (bench.user / "deep" / "new").read_text() == "new\n"
    assert not (bench.user / "gone").exists()


@pytest.mark.live
@pytest.mark.parametrize("done", [("code",), ("code", "deep/new"), ("gone",), ("deep/new", "gone")])
async def test_it_is_finished_after_a_kill_wherever_that_was(
    bench: Bench, done: tuple[str, ...]
) -> None:
    for name in done:
        source, target = bench.base / "other" / name, bench.user / name
        target.parent.mkdir(exist_ok=True)
        target.write_text(source.read_text()) if source.exists() else target.unlink()
    if "code" not in done:
        (bench.user / "code").unlink()
    await bench.land(bench.user)
    assert git(bench.user, "rev-parse", "main") == bench.new
    assert git(bench.user, "status", "--porcelain") == ""


@pytest.mark.live
@pytest.mark.parametrize("name", ["code", "gone", "README", "deep/new"])
async def test_a_file_of_the_users_own_making_stops_it(bench: Bench, name: str) -> None:
    (bench.user / "deep").mkdir()
    (bench.user / name).write_text("the user's")
    (bench.user / "gone").touch()
    before = fingerprint(bench.user)
    with pytest.raises(GitError, match=name):
        await bench.land(bench.user)
    assert fingerprint(bench.user) == before


@pytest.mark.live
async def test_a_file_that_the_user_removed_stops_it(bench: Bench) -> None:
    (bench.user / "README").unlink()
    with pytest.raises(GitError, match="local changes: README"):
        await bench.land(bench.user)
    assert not (bench.user / "README").exists()


@pytest.mark.live
async def test_a_branch_that_has_moved_is_left_with_its_files(bench: Bench) -> None:
    newer = commit(bench.user, "his", "x")
    git(bench.user, "switch", "-q", "-c", "aside", bench.old)
    git(bench.user, "symbolic-ref", "HEAD", "refs/heads/main")
    git(bench.user, "update-ref", "refs/heads/main", newer)
    git(bench.user, "reset", "-q", "--hard", "main")
    with pytest.raises(GitError, match=r"meanwhile|local changes"):
        await bench.land(bench.user)
    with pytest.raises(GitError, match="meanwhile"):
        await bench.land(None)
    assert git(bench.user, "rev-parse", "main") == newer
    assert git(bench.user, "status", "--porcelain") == ""
    assert not (bench.user / ".git" / "index.lock").exists()


@pytest.mark.live
async def test_an_index_that_a_kill_left_behind_is_brought_to_the_branch(bench: Bench) -> None:
    index, lock = bench.user / ".git" / "index", bench.user / ".git" / "index.lock"
    target = await GitCli(clock=SystemClock(), locks=bench.base / "locks").repository(bench.user)
    old = index.read_bytes()
    await bench.land(bench.user)
    index.write_bytes(old)
    assert git(bench.user, "status", "--porcelain") != ""
    lock.write_text("somebody else's")
    before = fingerprint(bench.user)
    await finish(target, bench.user, commit=bench.new)
    assert fingerprint(bench.user) == before
    lock.write_text("tachikoma is bringing in a commit\n")
    await finish(target, bench.user, commit=bench.new)
    assert git(bench.user, "status", "--porcelain") == ""
    assert not lock.exists()
