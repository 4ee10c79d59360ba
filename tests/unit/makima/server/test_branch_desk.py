from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest

from tachikoma.host import tasks
from tachikoma.makima.commands import SpawnTask
from tachikoma.makima.frames import BranchInfo
from tachikoma.makima.messages import (
    BranchList,
    CheckTargetExistsResult,
    CloneWorktreeResult,
    CompletionActionResult,
    MergeCompleteCheck,
    MergeResult,
    MergeStatusResponse,
    Message,
    RegisterToolKey,
    RevokeToolKey,
)
from tests.doubles.makima_daemon import Frame
from tests.unit.makima.server.stage import FakeDaemon, Team, team

pytestmark = pytest.mark.live

KEY = "tool-" + "x" * 40


@pytest.fixture
async def crew(tmp_path: Path) -> AsyncIterator[Team]:
    async with team(tmp_path) as made:
        yield made


class Merging:
    """Answers a daemon's commands about branches, as one does that has ``branches``."""

    def __init__(self, daemon: FakeDaemon) -> None:
        self._daemon = daemon
        self.branches: dict[UUID, str] = {}
        self.merged: set[str] = set()
        self.skipped: set[UUID] = set()
        self.silent = False
        daemon.wire.heed = self._heed

    def _heed(self, frame: Frame) -> None:
        answer = None if self.silent else self._answer(frame)
        if answer is not None:
            self._said = tasks.spawn(self._daemon.say(answer), name="answer")

    def _answer(self, frame: Frame) -> Message | None:  # noqa: PLR0911 - one arm a command
        task = UUID(frame["taskId"]) if "taskId" in frame else UUID(int=0)
        done = MergeResult(task_id=task, success=True, message=frame["type"])
        match frame["type"]:
            case "listBranches":
                return BranchList(task_id=task, branches=tuple(self._infos()))
            case "mergeStart":
                self.merged.add(frame["sourceBranch"])
                return MergeResult(
                    task_id=task, success=False, message="conflicts", conflicts=("a.py",)
                )
            case "mergeStatus":
                return MergeStatusResponse(
                    task_id=task, in_progress=True, source_branch="b", conflicted_files=("a.py",)
                )
            case "mergeSkip":
                self.skipped.add(UUID(frame["subtaskId"]))
                return done
            case "mergeResolve" | "mergeCommit" | "mergeAbort":
                return done
            case "checkMergeComplete":
                left = [
                    name
                    for id_, name in self.branches.items()
                    if name not in self.merged and id_ not in self.skipped
                ]
                return MergeCompleteCheck(
                    task_id=task,
                    can_complete=not left,
                    unmerged_branches=tuple(left),
                    merged_count=len(self.merged),
                    skipped_count=len(self.skipped),
                )
            case "retryCompletionAction":
                return CompletionActionResult(
                    task_id=task, success=True, message=frame["action"], pr_url=None
                )
            case "cloneWorktree":
                return CloneWorktreeResult(
                    task_id=task, success=True, message="ok", target_dir=frame["targetDir"]
                )
            case "checkTargetExists":
                return CheckTargetExistsResult(
                    task_id=task, exists=False, target_dir=frame["targetDir"]
                )
            case _:
                return None

    def _infos(self) -> list[BranchInfo]:
        return [
            BranchInfo(
                name=name,
                task_id=id_,
                is_merged=name in self.merged,
                last_commit="abc1234",
                last_commit_message="work",
            )
            for id_, name in self.branches.items()
        ]


async def led(crew: Team) -> tuple[str, FakeDaemon, Merging]:
    daemon = await crew.daemon()
    merging = Merging(daemon)
    task = (await crew.create("lead them", orchestrator=True, repo="/srv/x"))["id"]
    await daemon.spawned()
    await daemon.runs(task)
    await daemon.say(RegisterToolKey(task_id=UUID(task), key=KEY))
    await crew.until(task, status="running")
    await daemon.wire.settled()
    return task, daemon, merging


async def test_an_orchestrator_leads_two_subtasks_from_beginning_to_end(crew: Team) -> None:
    task, daemon, merging = await led(crew)
    place = f"/tasks/{task}"
    parts = [await crew.create(name, key=KEY) for name in ("left", "right")]
    for number, part in enumerate(parts, 2):
        order = await daemon.spawned(number)
        assert order["taskId"] == part["id"]
        assert SpawnTask.model_validate_json(json.dumps(order)).parent_task_id == UUID(task)
        merging.branches[UUID(part["id"])] = f"mine/{number}"
        await daemon.runs(part["id"])
        await daemon.ends(part["id"])
        ended = await crew.call("GET", f"/tasks/{part['id']}?waitS=5", key=KEY)
        assert ended.body["status"] == "done"

    listed = await crew.call("GET", f"{place}/branches", key=KEY)
    assert [(each["task"], each["name"]) for each in listed.body["items"]] == [
        (parts[0]["id"], "mine/2"),
        (parts[1]["id"], "mine/3"),
    ]
    assert (await crew.get(f"/tasks/{parts[0]['id']}"))["branch"] == "mine/2"

    started = await crew.post(f"{place}/merge/start", {"branch": "mine/2"}, key=KEY)
    assert (started["success"], started["conflicts"]) == (False, ["a.py"])
    state = (await crew.call("GET", f"{place}/merge", key=KEY)).body
    assert state == {"inProgress": True, "sourceBranch": "b", "conflictedFiles": ["a.py"]}
    ours = {"file": "a.py", "strategy": "ours"}
    assert (await crew.post(f"{place}/merge/resolve", ours, key=KEY))["success"]
    assert (await crew.post(f"{place}/merge/commit", {"message": "both"}, key=KEY))["success"]
    assert (await crew.post(f"{place}/merge/abort", key=KEY))["success"]

    check = (await crew.call("GET", f"{place}/merge/check", key=KEY)).body
    assert (check["canComplete"], check["unmergedBranches"]) == (False, ["mine/3"])
    skip = {"subtask": parts[1]["id"], "reason": "not needed"}
    assert (await crew.post(f"{place}/merge/skip", skip, key=KEY))["success"]
    check = (await crew.call("GET", f"{place}/merge/check", key=KEY)).body
    assert (check["canComplete"], check["mergedCount"], check["skippedCount"]) == (True, 1, 1)

    await daemon.say(RevokeToolKey(task_id=UUID(task)))
    await daemon.ends(task)
    done = await crew.until(task, status="done")
    assert done["subtasks"] == 2
    assert (await crew.call("GET", f"{place}/branches", key=KEY)).status == 401


async def test_what_an_attempt_left_that_was_begun_anew_does_not_hold_up_the_end(
    crew: Team,
) -> None:
    task, daemon, merging = await led(crew)
    part = await crew.create("part", key=KEY)
    await daemon.spawned(2)
    merging.branches[UUID(part["id"])] = "first"
    await daemon.runs(part["id"])
    await daemon.ends(part["id"], success=False, error="no")
    await crew.until(part["id"], status="failed")
    await crew.post(f"/tasks/{part['id']}/retry", {"fresh": True})
    second = await daemon.spawned(3)
    assert second["continueFromTaskId"] is None
    merging.branches[UUID(second["taskId"])] = "second"
    merging.merged.add("second")
    check = await crew.get(f"/tasks/{task}/merge/check")
    assert (check["canComplete"], check["skippedCount"]) == (True, 1)


async def test_an_orchestrator_merges_in_its_own_worktree_only(crew: Team) -> None:
    _, daemon, _ = await led(crew)
    inner = await crew.create("inner", key=KEY, orchestrator=True)
    await daemon.spawned(2)
    found = await crew.call("GET", f"/tasks/{inner['id']}/branches", key=KEY)
    assert (found.status, found.code) == (403, "forbidden")
    plain = await crew.create("plain")
    refused = await crew.call("GET", f"/tasks/{plain['id']}/branches")
    assert (refused.status, refused.code) == (409, "not_an_orchestrator")


async def test_finished_work_is_delivered_and_cloned(crew: Team) -> None:
    daemon = await crew.daemon()
    Merging(daemon)
    task = (await crew.create(targetRepo="/srv/app", targetBranch="main"))["id"]
    await daemon.spawned()
    early = await crew.call("POST", f"/tasks/{task}/action", {"action": "merge"})
    assert (early.status, early.code) == (409, "wrong_state")
    await daemon.runs(task)
    await daemon.ends(task)
    await crew.until(task, status="done")
    outcome = await crew.post(f"/tasks/{task}/action", {"action": "merge"})
    assert outcome == {"success": True, "message": "merge", "prUrl": None}
    (said,) = daemon.wire.of("retryCompletionAction")
    assert (said["targetRepoPath"], said["targetBranch"]) == ("/srv/app", "main")
    assert (await crew.get(f"/tasks/{task}"))["actionOutcome"] == outcome
    cloned = await crew.post(f"/tasks/{task}/clone", {"directory": "~/here"})
    assert cloned == {"success": True, "message": "ok", "directory": "~/here"}
    there = await crew.get(f"/tasks/{task}/target-exists", directory="~/x")
    assert there == {"exists": False, "directory": "~/x"}


async def test_without_its_daemon_nothing_can_be_asked(crew: Team) -> None:
    lead = await crew.create("lead", orchestrator=True)
    early = await crew.call("GET", f"/tasks/{lead['id']}/branches")
    assert (early.status, early.code) == (409, "wrong_state")
    daemon = await crew.daemon()
    await daemon.spawned()
    daemon.wire.cut()
    await crew.until(lead["id"], attention="its daemon host-m1 is away")
    away = await crew.call("GET", f"/tasks/{lead['id']}/branches")
    assert (away.status, away.code) == (503, "daemon_away")
