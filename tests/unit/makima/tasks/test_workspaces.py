from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from tachikoma.host import process
from tachikoma.makima.tasks.claims import Claims
from tachikoma.model.errors import GitError
from tachikoma.model.errors_fleet import WorkspaceError
from tachikoma.model.names import vm_name
from tests.doubles.real_git import commit, git, new_repository
from tests.doubles.task_bench import FIRST, SECOND, THIRD, Bench, work
from tests.unit.git.test_checkout import hostile_config

pytestmark = pytest.mark.live


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path.resolve())


async def test_a_task_gets_a_worktree_on_a_branch_of_its_own(bench: Bench) -> None:
    made = await bench.prepare()
    assert made.repository == bench.repos / "hub"
    assert made.worktree == bench.trees / "task-11111111"
    assert made.branch == "makima/task-11111111"
    assert made.base == git(bench.hub, "rev-parse", "main")
    assert git(made.worktree, "branch", "--show-current") == made.branch
    assert git(made.worktree, "status", "--porcelain") == ""
    assert (made.worktree / "code").read_text() == "one\ntwo\nthree\n"
    assert await bench.prepare() == made
    assert await bench.prepare(existing=made) == made


async def test_the_orchestrator_finds_that_worktree_by_its_branch(bench: Bench) -> None:
    made = await bench.prepare()
    repository = await bench.git.repository(made.worktree)
    found = await bench.git.ensure_worktree(repository, made.branch, None)
    assert found.path == made.worktree
    assert vm_name(repository.name, made.branch) == "tachikoma-hub-makima-task-11111111"


async def test_what_the_agent_did_survives_a_second_call(bench: Bench) -> None:
    made = await bench.prepare()
    (made.worktree / "new").write_text("x")
    git(made.worktree, "switch", "-q", "-c", "elsewhere")
    assert await bench.prepare() == made
    assert await bench.prepare(existing=made) == made
    assert (made.worktree / "new").exists()


async def test_two_tasks_whose_ids_begin_alike_have_two_worktrees(bench: Bench) -> None:
    other = UUID("11111111-aaaa-4000-8000-000000000009")
    first, second = await asyncio.gather(bench.prepare(), bench.prepare(other))
    assert {first.branch, second.branch} == {"makima/task-11111111", "makima/task-11111111aaaa"}
    assert first.worktree != second.worktree


async def test_many_tasks_at_once_share_one_clone(bench: Bench) -> None:
    tasks = [UUID(int=number << 96) for number in range(1, 7)]
    made = await asyncio.gather(*(bench.prepare(task) for task in tasks))
    assert {each.repository for each in made} == {bench.repos / "hub"}
    assert len({each.worktree for each in made}) == len(tasks)


async def test_a_branch_that_an_agent_made_for_a_coming_task_is_not_taken(bench: Bench) -> None:
    first = await bench.prepare()
    evil = work(first, "evil", "x")
    git(first.repository, "branch", "makima/task-22222222", evil)
    second = await bench.prepare(SECOND)
    assert second.branch == "makima/task-222222220000"
    assert git(second.worktree, "rev-parse", "HEAD") == second.base != evil


async def test_a_worktree_whose_making_was_cut_short_is_made(bench: Bench) -> None:
    made = await bench.prepare()
    claims = Claims(bench.trees)
    claims.write(replace(claims.claim(FIRST), ready=False))
    admin = made.repository / "worktrees" / "task-11111111"
    for damage in ("no files", "no worktree", "no branch"):
        if damage == "no files":
            (admin / "locked").write_text("tachikoma is making this worktree\n")
            (admin / "index").unlink()
            (made.worktree / "code").unlink()
        else:
            shutil.rmtree(made.worktree)
        if damage == "no branch":
            shutil.rmtree(admin)
            git(made.repository, "update-ref", "-d", f"refs/heads/{made.branch}")
        claims.write(replace(claims.claim(FIRST), ready=False))
        assert await bench.prepare() == made
        assert git(made.worktree, "status", "--porcelain") == ""
        assert (made.worktree / "code").exists()


async def test_a_worktree_that_was_removed_is_there_again_with_its_branch(bench: Bench) -> None:
    made = await bench.prepare()
    tip = work(made, "new", "x")
    shutil.rmtree(made.worktree)
    assert await bench.prepare(existing=made) == made
    assert git(made.worktree, "rev-parse", "HEAD") == tip


async def test_another_base_branch_is_started_from(bench: Bench) -> None:
    older = git(bench.hub, "rev-parse", "HEAD~1")
    git(bench.hub, "branch", "-f", "develop", older)
    assert (await bench.prepare(base_branch="develop")).base == older
    with pytest.raises(WorkspaceError, match="no branch nope") as caught:
        await bench.prepare(SECOND, base_branch="nope")
    assert "develop, main" in caught.value.hint


async def test_a_remote_that_is_away_is_told_and_does_not_hold_a_task_up(bench: Bench) -> None:
    await bench.prepare()
    bench.hub.rename(bench.base / "away")
    await bench.prepare(SECOND)
    assert ["could not be fetched" in notice for notice in bench.notices] == [True]


async def test_a_task_goes_on_from_another_ones_branch_and_files(bench: Bench) -> None:
    first = await bench.prepare()
    (first.worktree / ".gitignore").write_text("*.log\n")
    tip = work(first, ".gitignore", "*.log\n")
    (first.worktree / "code").write_text("changed")
    (first.worktree / "code").chmod(0o755)
    (first.worktree / "README").unlink()
    (first.worktree / "new ü").write_text("new")
    (first.worktree / "noise.log").write_text("noise")
    git(first.worktree, "add", "new ü")
    before = git(first.worktree, "status", "--porcelain")
    second = await bench.prepare(SECOND, previous=first)
    assert second.base == tip == git(second.worktree, "rev-parse", "HEAD")
    shown = git(second.worktree, "-c", "core.quotePath=false", "status", "--porcelain")
    assert {tuple(line.split(maxsplit=1)) for line in shown.splitlines()} == {
        ("D", "README"),
        ("M", "code"),
        ("??", '"new ü"'),
    }
    assert (second.worktree / "code").stat().st_mode & 0o111
    assert not (second.worktree / "README").exists()
    assert not (second.worktree / "noise.log").exists()
    assert git(first.worktree, "status", "--porcelain") == before


async def test_a_task_of_another_repository_is_not_gone_on_from(bench: Bench) -> None:
    first = await bench.prepare()
    other = new_repository(bench.base / "other")
    with pytest.raises(WorkspaceError, match="not the repository"):
        await bench.prepare(SECOND, previous=first, repo_url=str(other))


async def test_files_come_from_the_parents_worktree(bench: Bench) -> None:
    parent = await bench.prepare()
    (parent.worktree / "notes").mkdir()
    (parent.worktree / "notes" / "plan").write_text("plan")
    child = await bench.prepare(SECOND, parent=parent, copy_files=("notes",))
    assert (child.worktree / "notes" / "plan").read_text() == "plan"
    with pytest.raises(WorkspaceError, match="out of the worktree"):
        await bench.prepare(THIRD, parent=parent, copy_files=("notes", "../x"))
    with pytest.raises(WorkspaceError, match="parent"):
        await bench.prepare(THIRD, copy_files=("notes",))


async def test_without_a_url_the_repository_is_the_parents_the_targets_or_a_new_one(
    bench: Bench,
) -> None:
    parent = await bench.prepare()
    tip = work(parent, "new", "x")
    child = await bench.prepare(SECOND, parent=parent, repo_url=None)
    assert (child.repository, child.base) == (parent.repository, tip)
    of_target = await bench.prepare(THIRD, repo_url=None, target_repo_path=str(bench.hub))
    assert of_target.repository == bench.repos / "hub"
    alone = await bench.prepare(UUID(int=9 << 96), repo_url=None)
    assert git(alone.worktree, "log", "--format=%s") == "An empty start"


async def test_a_subtask_starts_from_the_branch_that_is_named_of_its_parent(bench: Bench) -> None:
    parent = await bench.prepare()
    tip = work(parent, "new", "x")
    child = await bench.prepare(SECOND, base_branch=parent.branch)
    assert child.base == tip
    other = await bench.prepare(THIRD, parent=parent, repo_url=None, base_branch="develop")
    assert other.base == git(bench.hub, "rev-parse", "develop")


async def test_what_is_left_is_committed_by_the_user_under_the_tasks_name(bench: Bench) -> None:
    made = await bench.prepare()
    (made.worktree / "new").write_text("x")
    home = Path.home() / ".gitconfig"
    home.write_text("[user]\n\tname = Ada\n\temail = ada@example.org\n")
    git(made.repository, "config", "user.name", "Mallory")
    tip = await bench.workspaces.commit_rest(made, "Do the thing")
    assert git(made.worktree, "log", "-1", "--format=%H %an %cn %s") == (
        f"{tip} Ada Ada Do the thing"
    )
    home.unlink()
    (made.worktree / "more").write_text("x")
    await bench.workspaces.commit_rest(made, "More")
    assert git(made.worktree, "log", "-1", "--format=%an") == "tachikoma"


async def test_an_agent_can_commit_where_the_user_has_told_git_no_name(bench: Bench) -> None:
    made = await bench.prepare()
    named = await bench.workspaces.committer()
    commit = ["git", "commit", "-q", "--allow-empty", "-m", "By the agent"]
    await process.run(commit, cwd=made.worktree, env=named, deadline_s=30)
    assert git(made.worktree, "log", "-1", "--format=%an %cn") == "tachikoma tachikoma"
    (Path.home() / ".gitconfig").write_text("[user]\n\tname = Ada\n\temail = a@example.org\n")
    assert await bench.workspaces.committer() == {}


async def test_nothing_that_an_agent_wrote_runs_on_the_host(bench: Bench) -> None:
    made = await bench.prepare()
    canary = bench.base / "canary"
    hostile_config(made.repository, canary, program=bench.base / "run")
    work_tree = made.worktree
    (work_tree / ".gitattributes").write_text("* filter=evil diff=evil merge=evil\n")
    (work_tree / "new").write_text("x")
    with pytest.raises(Exception, match="git"):
        git(work_tree, "add", "-A")
    assert canary.exists(), "or this shows nothing"
    canary.unlink()
    commit(bench.hub, "later", "x")
    again = await bench.prepare(SECOND)
    await bench.prepare(THIRD, previous=made)
    await bench.workspaces.commit_rest(made, "Rest")
    await bench.workspaces.clone_to(made, "out")
    records = [bench.record(made), bench.record(again, SECOND)]
    await bench.workspaces.cleanup(records)
    assert not canary.exists(), canary.read_text()


async def test_a_configuration_that_names_other_directories_leads_nobody_there(
    bench: Bench,
) -> None:
    made = await bench.prepare()
    elsewhere = bench.base / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("x")
    git(made.repository, "config", "core.worktree", str(elsewhere))
    git(made.repository, "config", "core.bare", "false")
    (made.repository / "worktrees" / "task-11111111" / "config.worktree").write_text(
        f"[core]\n\tworktree = {elsewhere}\n"
    )
    (made.worktree / "new").write_text("x")
    second = await bench.prepare(SECOND, previous=made)
    await bench.workspaces.commit_rest(made, "Rest")
    await bench.workspaces.commit_rest(second, "Rest")
    assert git(bench.base, f"--git-dir={made.repository}", "show", f"{made.branch}:new") == "x"
    await bench.workspaces.clone_to(made, "out")
    await bench.workspaces.cleanup([bench.record(made), bench.record(second, SECOND)])
    assert [(each.name, each.read_text()) for each in elsewhere.iterdir()] == [("precious", "x")]
    assert [each.name for each in bench.trees.iterdir()] == [".claims"]


async def test_a_worktree_that_is_not_ours_to_have_is_an_error(bench: Bench) -> None:
    (bench.trees / "task-11111111").mkdir(parents=True)
    (bench.trees / "task-11111111" / "mine").write_text("x")
    with pytest.raises(GitError, match="something else"):
        await bench.prepare()
    assert (bench.trees / "task-11111111" / "mine").exists()
