from __future__ import annotations

from pathlib import Path

import pytest

from tachikoma.model.errors_fleet import WorkspaceError
from tests.doubles.real_git import git
from tests.doubles.task_bench import Bench, work


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path.resolve())


@pytest.mark.live
async def test_a_clone_has_the_branch_and_what_is_not_committed(bench: Bench) -> None:
    made = await bench.prepare()
    tip = work(made, "new", "x")
    (made.worktree / "code").write_text("changed")
    (made.worktree / "README").unlink()
    (made.worktree / "draft").write_text("draft")
    target = await bench.workspaces.clone_to(made, "deep/out")
    assert target == bench.home / "deep" / "out"
    assert git(target, "rev-parse", "HEAD") == tip
    assert git(target, "branch", "--show-current") == made.branch
    assert git(target, "status", "--porcelain").split() == [
        *("D", "README", "M", "code", "??", "draft"),
    ]
    assert git(target, "remote", "get-url", "origin") == str(bench.hub)
    assert git(target, "fsck", "--no-dangling") == ""
    assert not (target / ".git" / "objects" / "info" / "alternates").exists()
    assert [path.name for path in target.parent.iterdir()] == ["out"]


@pytest.mark.live
async def test_a_clone_of_a_worktree_that_was_cleaned_up_has_what_was_kept(bench: Bench) -> None:
    made = await bench.prepare()
    (made.worktree / "draft").write_text("draft")
    await bench.workspaces.cleanup([bench.record(made)])
    target = await bench.workspaces.clone_to(made, "out")
    assert git(target, "status", "--porcelain") == "?? draft"


@pytest.mark.live
async def test_nothing_is_cloned_over_what_is_there(bench: Bench, own_home: Path) -> None:
    made = await bench.prepare()
    full = own_home / "full"
    full.mkdir()
    (full / "mine").write_text("x")
    (own_home / "link").symlink_to(bench.base)
    for target in ("~/full", str(full), "~/full/mine", "~/link"):
        with pytest.raises(WorkspaceError, match="not empty"):
            await bench.workspaces.clone_to(made, target)
    for target in (str(bench.trees / "x"), str(made.worktree / "x"), str(bench.repos / "x")):
        with pytest.raises(WorkspaceError, match="daemon's own"):
            await bench.workspaces.clone_to(made, target)
    (own_home / "empty").mkdir()
    assert await bench.workspaces.clone_to(made, "~/empty") == own_home / "empty"
    assert sorted(path.name for path in own_home.iterdir()) == ["empty", "full", "link"]


@pytest.mark.live
async def test_a_path_is_looked_at_as_it_would_be_cloned_to(bench: Bench, own_home: Path) -> None:
    (own_home / "here").mkdir()
    made = await bench.prepare()
    assert await bench.workspaces.exists("~/here") == (True, own_home / "here")
    assert await bench.workspaces.exists("a/../b") == (False, bench.home / "b")
    for path in ("", "  ", "a\0b", "~nobody-of-that-name/x"):
        assert await bench.workspaces.exists(path) == (False, Path(path))
        with pytest.raises(WorkspaceError):
            await bench.workspaces.clone_to(made, path)
