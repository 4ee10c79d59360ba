from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest

from tachikoma.makima.frames import BranchInfo
from tachikoma.makima.record import Skip, Workspace
from tachikoma.makima.tasks.merging import (
    CompleteCheck,
    MergeOutcome,
    MergeState,
    Merging,
    check_complete,
)
from tests.doubles.real_git import git
from tests.doubles.task_bench import FIRST, SECOND, THIRD, Bench, work
from tests.unit.git.test_checkout import hostile_config


def info(task: UUID | None, *, merged: bool) -> BranchInfo:
    return BranchInfo(
        name=f"b-{task}", task_id=task, is_merged=merged, last_commit="", last_commit_message=""
    )


def test_all_is_done_once_every_branch_is_merged_or_skipped() -> None:
    skips = [Skip(SECOND, "no need"), Skip(FIRST, "merged all the same")]
    assert check_complete([], []) == CompleteCheck(True, (), 0, 0)
    assert check_complete([info(FIRST, merged=True), info(SECOND, merged=False)], skips) == (
        CompleteCheck(True, (), 1, 1)
    )
    assert check_complete([info(FIRST, merged=True), info(THIRD, merged=False)], skips) == (
        CompleteCheck(False, (f"b-{THIRD}",), 1, 0)
    )


class Orchestra:
    """An orchestrator with two subtasks that have changed the same file."""

    def __init__(self, bench: Bench, lead: Workspace, one: Workspace, two: Workspace) -> None:
        self.bench = bench
        self.lead = lead
        self.one = one
        self.two = two
        self.merging = Merging(identity=bench.workspaces.identity)

    @property
    def status(self) -> str:
        return git(self.lead.worktree, "status", "--porcelain")

    def text(self, name: str) -> str:
        return (self.lead.worktree / name).read_text()


@pytest.fixture
async def orchestra(tmp_path: Path) -> Orchestra:
    bench = Bench(tmp_path.resolve())
    lead = await bench.prepare(FIRST)
    one = await bench.prepare(SECOND, parent=lead)
    two = await bench.prepare(THIRD, parent=lead)
    work(one, "code", "first\n")
    work(one, "only one", "x")
    work(two, "code", "second\n")
    return Orchestra(bench, lead, one, two)


@pytest.mark.live
async def test_two_subtasks_are_merged_one_with_a_conflict(orchestra: Orchestra) -> None:
    it, lead, one, two = orchestra.merging, orchestra.lead, orchestra.one, orchestra.two
    subtasks = [(SECOND, one.branch), (THIRD, two.branch), (FIRST, "gone")]
    before = await it.branches(lead, subtasks)
    assert before[0] == BranchInfo(
        name=one.branch,
        task_id=SECOND,
        is_merged=False,
        last_commit=git(one.worktree, "rev-parse", "--short=8", "HEAD"),
        last_commit_message="Change only one",
    )
    assert before[2].last_commit == ""
    started = await it.start(lead, one.branch)
    assert (started.success, started.conflicts) == (True, None)
    assert await it.status(lead) == MergeState(one.branch)
    done = await it.commit(lead, "Take the first\n\nIt is good.")
    assert done == MergeOutcome(
        True, f"merged {one.branch}", git(lead.worktree, "rev-parse", "HEAD")
    )
    assert git(lead.worktree, "log", "-1", "--format=%s|%b") == "Take the first|It is good."
    again = await it.start(lead, one.branch)
    assert again.success
    assert "already up to date" in again.message
    started = await it.start(lead, two.branch)
    assert (started.success, started.conflicts) == (False, ("code",))
    assert await it.start(lead, two.branch) == started
    refused = await it.commit(lead, "Too early")
    assert (refused.success, refused.conflicts) == (False, ("code",))
    assert "code" in refused.message
    resolved = await it.resolve(lead, "code", "theirs")
    assert resolved.message == "took theirs for code; none left: commit the merge"
    assert (await it.commit(lead, "")).success
    assert git(lead.worktree, "log", "-1", "--format=%s") == f"Merge branch '{two.branch}'"
    assert orchestra.text("code") == "second\n"
    after = await it.branches(lead, subtasks[:2])
    assert check_complete(after, []) == CompleteCheck(True, (), 2, 0)
    assert orchestra.status == ""


@pytest.mark.live
async def test_what_cannot_be_is_answered_and_changes_nothing(orchestra: Orchestra) -> None:
    it, lead, one, two = orchestra.merging, orchestra.lead, orchestra.one, orchestra.two
    for step in (it.commit(lead, "x"), it.abort(lead), it.resolve(lead, "code", "ours")):
        assert (await step).message == "no merge is in progress"
    assert await it.status(lead) == MergeState(None)
    assert "no branch nope" in (await it.start(lead, "nope")).message
    (lead.worktree / "code").write_text("dirty")
    assert (
        "uncommitted changes, commit them first: code" in (await it.start(lead, one.branch)).message
    )
    git(lead.worktree, "checkout", "-q", "code")
    git(lead.worktree, "switch", "-q", "--detach")
    assert "at a commit" in (await it.start(lead, one.branch)).message
    git(lead.worktree, "switch", "-q", lead.branch)
    (lead.worktree / "only one").write_text("in the way")
    assert "only one" in (await it.start(lead, one.branch)).message
    (lead.worktree / "only one").unlink()
    assert orchestra.status == ""
    await it.start(lead, one.branch)
    assert f"a merge of {one.branch} is in progress" in (await it.start(lead, two.branch)).message
    assert "no strategy 'both'" in (await it.resolve(lead, "code", "both")).message
    assert "not in conflict" in (await it.resolve(lead, "code", "ours")).message


@pytest.mark.live
async def test_an_aborted_merge_leaves_nothing_and_loses_nothing(orchestra: Orchestra) -> None:
    it, lead, one = orchestra.merging, orchestra.lead, orchestra.one
    await it.start(lead, one.branch)
    assert (await it.abort(lead)).message == f"the merge of {one.branch} is aborted"
    assert orchestra.status == ""
    await it.start(lead, one.branch)
    (lead.worktree / "code").write_text("by hand\n")
    told = (await it.abort(lead)).message
    assert orchestra.status == ""
    ref = told.rpartition(" ")[2]
    assert git(lead.worktree, "show", f"{ref}:code") == "by hand"


@pytest.mark.live
async def test_what_an_agent_settles_by_hand_counts(orchestra: Orchestra) -> None:
    it, lead, one, two = orchestra.merging, orchestra.lead, orchestra.one, orchestra.two
    await it.start(lead, one.branch)
    await it.commit(lead, "First")
    await it.start(lead, two.branch)
    (lead.worktree / "code").write_text("both\n")
    git(lead.worktree, "add", "code")
    assert await it.status(lead) == MergeState(two.branch)
    assert (await it.commit(lead, "Both")).success
    assert git(lead.worktree, "show", "HEAD:code") == "both"


@pytest.mark.live
async def test_a_merge_that_the_agent_began_itself_is_seen(orchestra: Orchestra) -> None:
    it, lead, one = orchestra.merging, orchestra.lead, orchestra.one
    git(lead.worktree, "merge", "-q", "--no-commit", "--no-ff", one.branch)
    assert await it.status(lead) == MergeState(one.branch)
    assert (await it.commit(lead, "Ours")).success
    assert orchestra.status == ""


@pytest.mark.live
async def test_nothing_that_an_agent_wrote_runs_in_a_merge(orchestra: Orchestra) -> None:
    it, lead, one, two = orchestra.merging, orchestra.lead, orchestra.one, orchestra.two
    work(one, ".gitattributes", "* merge=evil filter=evil diff=evil\n")
    await it.start(lead, one.branch)
    await it.commit(lead, "First")
    canary = orchestra.bench.base / "canary"
    hostile_config(lead.repository, canary, program=orchestra.bench.base / "run")
    with pytest.raises(Exception, match="git"):
        git(lead.worktree, "merge", "--no-commit", two.branch)
    assert canary.exists(), "or this shows nothing"
    canary.unlink()
    (lead.worktree / ".git").write_text("gitdir: /etc\n")
    assert (await it.start(lead, two.branch)).conflicts == ("code",)
    assert (await it.resolve(lead, "code", "theirs")).success
    assert (await it.abort(lead)).success
    assert (await it.start(lead, two.branch)).conflicts == ("code",)
    assert (await it.resolve(lead, "code", "ours")).success
    assert (await it.commit(lead, "Second")).success
    assert not canary.exists(), canary.read_text()


@pytest.mark.live
async def test_a_linked_directory_in_the_worktree_leads_no_merge_out_of_it(
    orchestra: Orchestra,
) -> None:
    it, lead, one = orchestra.merging, orchestra.lead, orchestra.one
    (one.worktree / "deep").mkdir()
    work(one, "deep/file", "planted\n")
    outside = orchestra.bench.base / "outside"
    outside.mkdir()
    (lead.worktree / "deep").symlink_to(outside)
    await it.start(lead, one.branch)
    assert list(outside.iterdir()) == []
