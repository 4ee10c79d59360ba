from __future__ import annotations

from pathlib import Path

import pytest

from tachikoma.git import merging
from tachikoma.git.linked import opened
from tachikoma.git.merging import (
    STARTING,
    Merged,
    Plan,
    Stage,
    Standing,
    decode_merged,
    decode_plan,
    decode_unmerged,
    encode_plan,
    index_info,
    message_for,
)
from tachikoma.git.port import Commit, Identity
from tachikoma.host.process import Completed
from tachikoma.model.errors import GitError
from tests.doubles.real_git import commit, git, new_repository

A, B, C, D = ("a" * 40, "b" * 40, "c" * 40, "d" * 40)
ADA = Identity("Ada", "ada@example.org")
STAGES = (Stage("100644", B, 1, "x y"), Stage("100644", C, 3, "x y"), Stage("100644", D, 2, "a\nb"))
PLAN = Plan(A, "task", "main", Merged(B, STAGES, clean=False))


def test_a_clean_merge_is_a_tree_alone() -> None:
    assert decode_merged(f"{A}\0".encode(), clean=True) == Merged(A, ())


def test_conflicts_are_read_with_their_sides_whatever_the_name() -> None:
    raw = f"{A}\x00100644 {B} 1\tx y\x00100644 {C} 3\tx y\x00100644 {D} 2\ta\nb\x00".encode()
    assert decode_merged(raw, clean=False) == Merged(A, STAGES, clean=False)
    assert decode_merged(raw, clean=False).conflicts == ("a\nb", "x y")
    assert decode_unmerged(raw.partition(b"\0")[2]) == STAGES


def test_a_conflict_takes_the_place_of_the_file() -> None:
    assert index_info(STAGES[:2]) == (
        f"0 {'0' * 40}\tx y\x00100644 {B} 1\tx y\x00100644 {C} 3\tx y\x00".encode()
    )


def test_a_plan_is_read_as_it_was_written_and_a_guests_is_not_believed() -> None:
    assert decode_plan(encode_plan(PLAN)) == PLAN
    for text in ("", "[]", "{}", encode_plan(PLAN).replace(B, "--evil"), "null"):
        assert decode_plan(text) is None


def test_the_message_names_what_was_in_conflict() -> None:
    assert message_for(PLAN) == ("Merge branch 'task' into main\n\n# Conflicts:\n#\ta\nb\n#\tx y\n")


async def test_a_git_that_is_too_old_is_told_as_such() -> None:
    async def old(arguments: object, *, accepted: object) -> Completed:
        del arguments, accepted
        return Completed(("git",), 129, b"", b"usage: git merge-tree")

    with pytest.raises(GitError, match=r"2\.38"):
        await merging.merge_trees(old, A, B)


class Bench:
    """A bare repository with ``main`` in a worktree, and another branch ``side``."""

    def __init__(self, base: Path) -> None:
        seed = new_repository(base / "seed")
        commit(seed, "both", "one\n")
        git(base, "clone", "-q", "--bare", str(seed), "repo")
        self.repo = base / "repo"
        self.tree = base / "main"
        self.side = base / "side"
        git(self.repo, "worktree", "add", "-q", str(self.tree), "main")
        git(self.repo, "worktree", "add", "-q", "-b", "side", str(self.side))
        git(self.repo, "config", "user.name", "Agent")
        git(self.repo, "config", "user.email", "agent@example.org")

    async def start(self) -> Merged:
        tip = git(self.repo, "rev-parse", "side")
        async with opened(self.repo, self.tree) as held:
            return await merging.start(held, source="side", commit=tip, into="main")

    async def standing(self) -> Standing:
        async with opened(self.repo, self.tree) as held:
            return await merging.standing(held)

    @property
    def status(self) -> str:
        return git(self.tree, "status", "--porcelain")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path.resolve())


@pytest.mark.live
async def test_a_merge_that_has_begun_is_as_gits_own(bench: Bench) -> None:
    commit(bench.side, "both", "theirs\n")
    commit(bench.side, "new", "new\n")
    commit(bench.tree, "both", "ours\n")
    assert (await bench.start()).conflicts == ("both",)
    mine = (bench.status, (bench.tree / "both").read_text(), git(bench.tree, "ls-files", "-s"))
    git(bench.tree, "merge", "--abort")
    with pytest.raises(Exception, match="merge"):
        git(bench.tree, "merge", "--no-commit", "side")
    assert mine == (
        bench.status,
        (bench.tree / "both").read_text(),
        git(bench.tree, "ls-files", "-s"),
    )
    assert await bench.standing() == Standing("side", ("both",))


@pytest.mark.live
async def test_gits_own_commands_go_on_with_a_merge_that_we_began(bench: Bench) -> None:
    commit(bench.side, "both", "theirs\n")
    commit(bench.tree, "both", "ours\n")
    await bench.start()
    git(bench.tree, "checkout", "--theirs", "both")
    git(bench.tree, "add", "both")
    assert await bench.standing() == Standing("side", ())
    git(bench.tree, "commit", "-q", "--no-edit")
    assert git(bench.tree, "log", "-1", "--format=%s %P").startswith("Merge branch 'side' into")
    assert len(git(bench.tree, "log", "-1", "--format=%P").split()) == 2
    assert await bench.standing() == Standing("")


@pytest.mark.live
async def test_a_file_in_the_way_is_told_before_anything_changes(bench: Bench) -> None:
    commit(bench.side, "new", "new\n")
    (bench.tree / "new").write_text("mine")
    with pytest.raises(GitError, match="new"):
        await bench.start()
    assert (bench.tree / "new").read_text() == "mine"
    assert bench.status == "?? new"
    assert await bench.standing() == Standing("")


@pytest.mark.live
async def test_a_merge_is_finished_from_wherever_its_maker_was_killed(bench: Bench) -> None:
    commit(bench.side, "both", "theirs\n")
    commit(bench.side, "new", "new\n")
    commit(bench.tree, "both", "ours\n")
    tip = git(bench.repo, "rev-parse", "side")
    async with opened(bench.repo, bench.tree) as held:
        merged = await merging.merge_trees(held.git, git(bench.repo, "rev-parse", "main"), tip)
    plan = encode_plan(Plan(tip, "side", "main", merged))
    for made in ((), ("new",), ("new", "both")):
        git(bench.tree, "reset", "-q", "--hard", "main")
        git(bench.tree, "clean", "-qfd")
        for name in made:
            (bench.tree / name).write_text("half written")
        async with opened(bench.repo, bench.tree) as held:
            held.write(STARTING, plan)
        assert await bench.standing() == Standing("side", ("both",))
        assert (bench.tree / "new").read_text() == "new\n"
        assert "<<<<<<<" in (bench.tree / "both").read_text()
        async with opened(bench.repo, bench.tree) as held:
            assert not held.has(STARTING)


@pytest.mark.live
async def test_each_side_of_a_conflict_can_be_taken(bench: Bench) -> None:
    for side in (bench.side, bench.tree):
        (side / "bin").write_bytes(b"\0" + str(side).encode())
        git(side, "add", "bin")
        commit(side, "naïve\n name", f"{side}\n")
    git(bench.side, "rm", "-q", "both")
    git(bench.side, "commit", "-q", "-m", "gone")
    commit(bench.tree, "both", "ours\n")
    assert (await bench.start()).conflicts == ("bin", "both", "naïve\n name")
    for path, taken in (("bin", "theirs"), ("both", "theirs"), ("naïve\n name", "ours")):
        async with opened(bench.repo, bench.tree) as held:
            await merging.resolve(held, path, taken)
    assert (bench.tree / "bin").read_bytes() == b"\0" + str(bench.side).encode()
    assert not (bench.tree / "both").exists()
    assert (bench.tree / "naïve\n name").read_text() == f"{bench.tree}\n"
    async with opened(bench.repo, bench.tree) as held:
        with pytest.raises(GitError, match="not in conflict"):
            await merging.resolve(held, "bin", "ours")
        made = await merging.commit(held, branch="main", message=Commit("Merged", ""), identity=ADA)
    assert git(bench.tree, "log", "-1", "--format=%H %an %s") == f"{made} Ada Merged"
    assert bench.status == ""


@pytest.mark.live
async def test_a_merge_that_is_aborted_leaves_no_trace(bench: Bench) -> None:
    commit(bench.side, "both", "theirs\n")
    commit(bench.side, "new", "new\n")
    commit(bench.tree, "both", "ours\n")
    await bench.start()
    async with opened(bench.repo, bench.tree) as held:
        assert await merging.untouched(held)
    (bench.tree / "both").write_text("by hand\n")
    (bench.tree / "untracked").write_text("mine")
    async with opened(bench.repo, bench.tree) as held:
        assert not await merging.untouched(held)
    async with opened(bench.repo, bench.tree) as held:
        await merging.abort(held)
    assert bench.status == "?? untracked"
    assert (bench.tree / "both").read_text() == "ours\n"
    assert await bench.standing() == Standing("")


@pytest.mark.live
async def test_a_commit_whose_maker_was_killed_then_ends_the_merge(bench: Bench) -> None:
    commit(bench.side, "new", "new\n")
    await bench.start()
    tip = git(bench.repo, "rev-parse", "side")
    async with opened(bench.repo, bench.tree) as held:
        await merging.commit(held, branch="main", message=Commit("M", ""), identity=ADA)
        held.write("MERGE_HEAD", f"{tip}\n")
    assert await bench.standing() == Standing("")
    assert bench.status == ""
