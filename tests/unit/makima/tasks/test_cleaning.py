from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tachikoma.makima.record import TaskStatus
from tests.doubles.real_git import commit, git, new_repository
from tests.doubles.task_bench import SECOND, THIRD, Bench, work

pytestmark = pytest.mark.live


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path.resolve())


async def test_a_worktree_with_nothing_in_it_goes_without_a_word(bench: Bench) -> None:
    made = await bench.prepare()
    assert await bench.workspaces.cleanup([bench.record(made)]) == []
    assert not made.worktree.exists()
    assert str(made.worktree) not in git(made.repository, "worktree", "list")


async def test_tasks_that_go_on_keep_theirs(bench: Bench) -> None:
    made = await bench.prepare()
    for status in (TaskStatus.RUNNING, TaskStatus.PENDING, TaskStatus.PAUSED):
        assert await bench.workspaces.cleanup([bench.record(made, status=status)]) == []
        assert made.worktree.exists()
    unwritten = replace(bench.record(made, status=TaskStatus.INITIALIZING), workspace=None)
    assert await bench.workspaces.cleanup([unwritten]) == []
    assert made.worktree.exists()


async def test_uncommitted_work_comes_back_by_the_command_that_is_told(bench: Bench) -> None:
    made = await bench.prepare()
    (made.worktree / "draft").write_text("draft")
    notices = await bench.workspaces.cleanup([bench.record(made)])
    assert not made.worktree.exists()
    assert len(notices) == 1
    command = notices[0].partition("git fetch ")[2].split()
    git(bench.hub, "fetch", "-q", *command)
    assert git(bench.hub, "show", "recovered:draft") == "draft"


async def test_an_unmerged_branch_stays_and_is_told(bench: Bench) -> None:
    made = await bench.prepare()
    tip = work(made, "new", "x")
    notices = await bench.workspaces.cleanup([bench.record(made)])
    command = notices[0].partition("git fetch ")[2].split()
    git(bench.hub, "fetch", "-q", *command)
    assert git(bench.hub, "rev-parse", made.branch) == tip


async def test_a_merged_branch_is_not_told(bench: Bench) -> None:
    made = await bench.prepare()
    work(made, "new", "x")
    git(bench.hub, "fetch", "-q", str(made.repository), made.branch)
    git(bench.hub, "merge", "-q", "FETCH_HEAD")
    await bench.prepare(SECOND)
    assert await bench.workspaces.cleanup([bench.record(made)]) == []


async def test_a_worktree_that_no_record_knows_is_cleaned_as_well(bench: Bench) -> None:
    made = await bench.prepare(THIRD)
    (made.worktree / "draft").write_text("draft")
    notices = await bench.workspaces.cleanup([])
    assert "recovered" in notices[0]
    assert not made.worktree.exists()


async def test_what_is_not_ours_stays_and_is_told(bench: Bench) -> None:
    foreign = new_repository(bench.trees / "foreign")
    (bench.trees / "task-99").mkdir()
    (bench.trees / "link").symlink_to(bench.hub)
    (bench.trees / "file").write_text("x")
    notices = await bench.workspaces.cleanup([])
    assert len(notices) == 4
    assert all("stays as it is" in notice for notice in notices)
    assert (foreign / "README").exists()
    assert (bench.hub / "README").exists()


async def test_a_clone_that_an_agent_made_within_is_not_lost(bench: Bench) -> None:
    made = await bench.prepare()
    commit(new_repository(made.worktree / "lib"), "x", "x")
    notices = await bench.workspaces.cleanup([bench.record(made)])
    assert "repository of the agent's own" in notices[0]
    assert (made.worktree / "lib" / "x").exists()


async def test_a_worktree_that_cannot_be_read_stays(bench: Bench) -> None:
    made = await bench.prepare()
    (made.repository / "objects" / "info" / "alternates").write_text("/elsewhere\n")
    notices = await bench.workspaces.cleanup([bench.record(made)])
    assert "stays" in notices[0]
    assert made.worktree.exists()


async def test_links_in_a_worktree_are_removed_and_not_followed(bench: Bench) -> None:
    made = await bench.prepare()
    (made.worktree / "out").symlink_to(bench.hub)
    (bench.trees / ".removed-task-1").mkdir()
    await bench.workspaces.cleanup([bench.record(made)])
    assert (bench.hub / "README").exists()
    assert sorted(path.name for path in bench.trees.iterdir()) == [".claims"]
