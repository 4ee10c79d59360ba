from __future__ import annotations

from pathlib import Path

import pytest

from tachikoma.git import keeping, merging
from tachikoma.git.linked import opened
from tachikoma.git.port import Commit, Identity
from tachikoma.model.errors import GitError
from tests.doubles.real_git import commit, git
from tests.unit.git.test_merging import Bench

pytestmark = pytest.mark.live

ADA = Identity("Ada", "ada@example.org")
REST = Commit("The rest", "")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path.resolve())


async def rest(bench: Bench) -> str:
    async with opened(bench.repo, bench.tree) as held:
        return await keeping.commit_rest(held, "main", REST, ADA)


def log(bench: Bench, name: str = "main") -> list[str]:
    return git(bench.repo, "log", "--format=%s", name).splitlines()


async def test_everything_is_committed_once(bench: Bench) -> None:
    (bench.tree / "new").write_text("x")
    (bench.tree / "both").unlink()
    made = await rest(bench)
    assert await rest(bench) == made == git(bench.tree, "rev-parse", "HEAD")
    assert log(bench)[0] == "The rest"
    assert git(bench.repo, "ls-tree", "--name-only", "main") == "README\nnew"
    assert bench.status == ""


@pytest.mark.parametrize("way", [("--detach",), ("-c", "elsewhere")])
async def test_the_branch_follows_an_agent_that_left_it(bench: Bench, way: tuple[str]) -> None:
    git(bench.tree, "switch", "-q", *way)
    commit(bench.tree, "a", "a")
    (bench.tree / "b").write_text("b")
    made = await rest(bench)
    assert git(bench.repo, "rev-parse", "main") == made
    assert log(bench)[:2] == ["The rest", "Change a"]
    assert git(bench.tree, "branch", "--show-current") == "main"
    assert bench.status == ""


async def test_work_beside_the_branch_is_kept_and_named(bench: Bench) -> None:
    commit(bench.tree, "on-main", "x")
    tip = git(bench.repo, "rev-parse", "main")
    git(bench.tree, "switch", "-q", "--detach", "side")
    (bench.tree / "beside").write_text("x")
    with pytest.raises(GitError, match="it is on main-") as caught:
        await rest(bench)
    assert git(bench.repo, "rev-parse", "main") == tip
    kept = caught.value.message.rpartition(" ")[2]
    assert "beside" in git(bench.repo, "ls-tree", "--name-only", kept)


async def test_an_agent_that_looks_at_an_older_commit_loses_nothing(bench: Bench) -> None:
    tip = commit(bench.tree, "a", "a")
    git(bench.tree, "switch", "-q", "--detach", "HEAD~1")
    assert await rest(bench) == tip


async def test_a_branch_that_the_agent_deleted_is_there_again(bench: Bench) -> None:
    git(bench.tree, "switch", "-q", "--orphan", "fresh")
    git(bench.repo, "update-ref", "-d", "refs/heads/main")
    (bench.tree / "only").write_text("x")
    await rest(bench)
    assert git(bench.repo, "ls-tree", "--name-only", "main") == "only"
    assert git(bench.tree, "branch", "--show-current") == "main"


async def test_a_merge_with_conflicts_is_left_alone(bench: Bench) -> None:
    commit(bench.side, "both", "theirs\n")
    tip = commit(bench.tree, "both", "ours\n")
    await bench.start()
    with pytest.raises(GitError, match="conflicts left: both"):
        await rest(bench)
    assert bench.status == "UU both"
    assert git(bench.repo, "rev-parse", "main") == tip


async def test_a_merge_that_is_settled_is_concluded(bench: Bench) -> None:
    commit(bench.side, "both", "theirs\n")
    commit(bench.tree, "both", "ours\n")
    await bench.start()
    async with opened(bench.repo, bench.tree) as held:
        await merging.resolve(held, "both", "theirs")
    (bench.tree / "more").write_text("x")
    await rest(bench)
    assert len(git(bench.repo, "log", "-1", "--format=%P", "main").split()) == 2
    assert git(bench.repo, "show", "main:both") == "theirs"
    assert (await bench.standing()).source == ""


async def test_a_rebase_under_way_is_left_alone(bench: Bench) -> None:
    commit(bench.side, "both", "theirs\n")
    commit(bench.tree, "both", "ours\n")
    with pytest.raises(Exception, match="rebase"):
        git(bench.tree, "rebase", "side")
    git(bench.tree, "checkout", "-q", "--theirs", "both")
    git(bench.tree, "add", "both")
    with pytest.raises(GitError, match="rebase"):
        await rest(bench)


async def test_what_is_not_committed_is_saved_beside(bench: Bench) -> None:
    (bench.tree / "new").write_text("x")
    async with opened(bench.repo, bench.tree) as held:
        ref = await keeping.save(held, "main", REST, ADA)
    assert ref.startswith("refs/makima/kept/main/")
    assert git(bench.repo, "show", f"{ref}:new") == "x"
    assert bench.status == "?? new"


async def test_where_nothing_is_left_nothing_is_saved(bench: Bench) -> None:
    async with opened(bench.repo, bench.tree) as held:
        assert await keeping.save(held, "main", REST, ADA) == ""


async def test_a_detached_commit_is_saved_too(bench: Bench) -> None:
    git(bench.tree, "switch", "-q", "--detach")
    lone = commit(bench.tree, "a", "a")
    async with opened(bench.repo, bench.tree) as held:
        ref = await keeping.save(held, "main", REST, ADA)
    assert git(bench.repo, "merge-base", ref, lone) == lone


async def test_the_state_is_that_of_the_worktree_or_what_was_kept_of_it(bench: Bench) -> None:
    (bench.tree / "new").write_text("x")
    state = await keeping.state_of(bench.repo, bench.tree, "main")
    assert state.commit == git(bench.repo, "rev-parse", "main")
    assert state.uncommitted
    async with opened(bench.repo, bench.tree) as held:
        await keeping.save(held, "main", REST, ADA)
    gone = await keeping.state_of(bench.repo, bench.tree.with_name("gone"), "main")
    assert git(bench.repo, "rev-parse", f"{gone.tree}^{{tree}}") == state.tree
    plain = await keeping.state_of(bench.repo, bench.tree.with_name("gone"), "side")
    assert not plain.uncommitted
    with pytest.raises(GitError, match="neither"):
        await keeping.state_of(bench.repo, bench.tree.with_name("gone"), "nope")
