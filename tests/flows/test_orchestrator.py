"""What a server does with an orchestrator and its subtasks, and with finished work; no VM."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest

from tachikoma.makima.commands import (
    CheckMergeComplete,
    CheckTargetExists,
    CloneWorktree,
    InjectSiblingContext,
    InterruptTask,
    ListBranches,
    MergeAbort,
    MergeCommit,
    MergeResolve,
    MergeSkip,
    MergeStart,
    MergeStatus,
    RetryCompletionAction,
)
from tachikoma.makima.tasks.merging import Merging
from tests.doubles.makima_server import Frame
from tests.flows.makima_stage import ONE, THREE, TWO, Stage, stage_at

pytestmark = pytest.mark.live  # git and processes

BRANCHES = {task: f"makima/task-{task.hex[:8]}" for task in (ONE, TWO, THREE)}


@pytest.fixture
async def stage(own_home: Path) -> AsyncIterator[Stage]:
    async with stage_at(own_home) as stage:
        yield stage


async def merged(
    stage: Stage, command: MergeStart | MergeCommit | MergeResolve | MergeAbort
) -> Frame:
    await stage.tell(command)
    return await stage.answer("mergeResult", command.task_id)


async def checked(stage: Stage) -> tuple[bool, list[str], int, int]:
    await stage.tell(CheckMergeComplete(task_id=ONE))
    told = await stage.answer("mergeCompleteCheck", ONE)
    return (
        told["canComplete"],
        told["unmergedBranches"],
        told["mergedCount"],
        told["skippedCount"],
    )


async def test_an_orchestrator_merges_its_subtasks_one_with_a_conflict(stage: Stage) -> None:
    async with stage.daemon():
        await stage.order(ONE, "env MAKIMA_API_KEY\nsleep 60", is_orchestrator=True)
        await stage.server.until(lambda: "MAKIMA_API_KEY" in stage.output(ONE))
        (registered,) = [f for f in stage.of(ONE) if f["type"] == "registerToolKey"]
        assert f"MAKIMA_API_KEY={registered['key']}" in stage.output(ONE)
        for task, text in ((TWO, "two"), (THREE, "three")):
            part = {"parent_task_id": ONE, "depth": 1, "task_name": text, "repo_url": None}
            await stage.order(task, f"write README {text}", **part)
        for task in (TWO, THREE):
            assert (await stage.completed(task))["success"]
        await stage.tell(ListBranches(task_id=ONE))
        listed = (await stage.answer("branchList", ONE))["branches"]
        assert [
            (each["name"], each["taskId"], each["isMerged"], each["lastCommitMessage"])
            for each in listed
        ] == [
            (BRANCHES[TWO], str(TWO), False, "two"),
            (BRANCHES[THREE], str(THREE), False, "three"),
        ]
        assert await checked(stage) == (False, [BRANCHES[TWO], BRANCHES[THREE]], 0, 0)

        first = await merged(stage, MergeStart(task_id=ONE, source_branch=BRANCHES[TWO]))
        assert (first["success"], first["conflicts"]) == (True, None)
        done = await merged(stage, MergeCommit(task_id=ONE, message="Take two"))
        assert done["success"]
        assert done["commitSha"] == stage.git("rev-parse", BRANCHES[ONE], at=stage.clone())

        second = await merged(stage, MergeStart(task_id=ONE, source_branch=BRANCHES[THREE]))
        assert (second["success"], second["conflicts"]) == (False, ["README"])
        await stage.tell(MergeStatus(task_id=ONE))
        assert await stage.answer("mergeStatusResponse", ONE) == {
            "type": "mergeStatusResponse",
            "taskId": str(ONE),
            "inProgress": True,
            "sourceBranch": BRANCHES[THREE],
            "conflictedFiles": ["README"],
        }
        wrong = await merged(stage, MergeResolve(task_id=ONE, file="README", strategy="mine"))
        assert not wrong["success"]
        right = await merged(stage, MergeResolve(task_id=ONE, file="README", strategy="theirs"))
        assert right["success"]
        assert (await merged(stage, MergeCommit(task_id=ONE, message="Take three")))["success"]
        assert await checked(stage) == (True, [], 2, 0)
        await stage.tell(InterruptTask(task_id=ONE, graceful=False))
        await stage.completed(ONE)
    assert stage.git("show", f"{BRANCHES[ONE]}:README", at=stage.clone()) == "three"
    kinds = [frame["type"] for frame in stage.of(ONE)]
    assert kinds[-3:] == ["revokeToolKey", "taskStatusChange", "taskComplete"]


async def test_a_merge_can_be_given_up_and_a_subtask_left_out(stage: Stage) -> None:
    async with stage.daemon():
        await stage.order(ONE, "say hi", is_orchestrator=True)
        await stage.completed(ONE)
        await stage.order(TWO, "write a two", parent_task_id=ONE)
        await stage.completed(TWO)
        await merged(stage, MergeStart(task_id=ONE, source_branch=BRANCHES[TWO]))
        assert (await merged(stage, MergeAbort(task_id=ONE)))["success"]
        await stage.tell(MergeSkip(task_id=ONE, subtask_id=THREE, reason="no need"))
        assert not (await stage.answer("mergeResult", ONE))["success"]
        await stage.tell(MergeSkip(task_id=ONE, subtask_id=TWO, reason="no need"))
        skipped = await stage.answer("mergeResult", ONE)
        assert (skipped["success"], skipped["message"]) == (True, "left unmerged: no need")
        assert await checked(stage) == (True, [], 0, 1)


async def test_an_agent_hears_of_its_sibling(stage: Stage) -> None:
    async with stage.daemon():
        await stage.order(ONE, "say begun\nsleep 1")
        await stage.server.until(lambda: "begun" in stage.output(ONE))
        told = InjectSiblingContext(
            task_id=ONE,
            sibling_task_id=TWO,
            sibling_name="Parser",
            sibling_status="done",
            progress_summary="It parses",
            changed_files=("parser.py",),
        )
        await stage.tell(told)
        await stage.completed(ONE)
    assert "What it has done: It parses" in stage.output(ONE)
    assert "- parser.py" in stage.output(ONE)


def digest(place: Path) -> str:
    """Tell all that is in a directory."""
    told = hashlib.sha256()
    for each in sorted(place.rglob("*")):
        told.update(str(each.relative_to(place)).encode())
        if each.is_file():
            told.update(each.read_bytes())
    return told.hexdigest()


async def act(stage: Stage, task: UUID, action: str, target: Path) -> Frame:
    await stage.tell(
        RetryCompletionAction(
            task_id=task,
            task_name="Work",
            action=action,
            target_repo_path=str(target),
            target_branch="main",
        )
    )
    return await stage.answer("completionActionResult", task)


async def test_finished_work_goes_where_it_is_wanted(stage: Stage) -> None:
    mine = stage.home / "mine"
    stage.git("clone", "-q", str(stage.origin), str(mine))
    async with stage.daemon():
        target = {"target_repo_path": str(mine), "target_branch": "main"}
        await stage.order(ONE, "write a.txt one", completion_action="merge", **target)
        assert (await stage.completed(ONE))["error"] is None
        assert (mine / "a.txt").read_text() == "one\n"

        await stage.order(TWO, "write README two", completion_action="merge", **target)
        (mine / "README").write_text("mine\n")
        stage.git("commit", "-qam", "Mine", at=mine)
        before = digest(mine)
        done = await stage.completed(TWO)
        assert done["success"]
        assert "README" in done["error"]
        (told,) = [f for f in stage.of(TWO) if f["type"] == "completionActionResult"]
        stage.server.frames.remove(told)
        assert not told["success"]
        assert digest(mine) == before

        assert (await act(stage, TWO, "branch", mine))["success"]
        assert stage.git("show", f"{BRANCHES[TWO]}:README", at=mine) == "two"
        assert not (await act(stage, TWO, "branch", stage.home / "nowhere"))["success"]
        assert not (await act(stage, TWO, "fly", mine))["success"]


async def test_a_worktree_is_cloned_where_nothing_is(stage: Stage) -> None:
    async with stage.daemon():
        await stage.order(ONE, "write a.txt one\nfail no")
        await stage.completed(ONE)
        await stage.tell(CheckTargetExists(task_id=ONE, target_dir="~/copy"))
        assert (await stage.answer("checkTargetExistsResult", ONE))["exists"] is False
        await stage.tell(CloneWorktree(task_id=ONE, target_dir="~/copy"))
        cloned = await stage.answer("cloneWorktreeResult", ONE)
        assert (cloned["success"], cloned["targetDir"]) == (True, str(stage.home / "copy"))
        assert (stage.home / "copy" / "a.txt").read_text() == "one\n"
        await stage.tell(CloneWorktree(task_id=ONE, target_dir="~/copy"))
        assert (await stage.answer("cloneWorktreeResult", ONE))["success"] is False
        await stage.tell(CheckTargetExists(task_id=ONE, target_dir="~/copy"))
        assert (await stage.answer("checkTargetExistsResult", ONE))["exists"] is True
        await stage.tell(CloneWorktree(task_id=TWO, target_dir="~/other"))
        unknown = await stage.answer("cloneWorktreeResult", TWO)
        assert "there is no task" in unknown["message"]


async def test_a_fault_of_ours_is_answered_and_what_waits_is_performed(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Merging, "start", broken)
    async with stage.daemon():
        await stage.order(ONE, "write a.txt one")
        await stage.completed(ONE)
        await stage.tell(MergeStart(task_id=ONE, source_branch="main"))
        await stage.tell(CheckTargetExists(task_id=ONE, target_dir="~/copy"))
        told = await stage.answer("mergeResult", ONE)
        assert (told["success"], "a fault" in told["message"]) == (False, True)
        assert (await stage.answer("checkTargetExistsResult", ONE))["exists"] is False
    assert "in performing mergeStart" in caplog.text
