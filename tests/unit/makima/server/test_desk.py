from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from tachikoma.makima.messages import (
    CompletionActionResult,
    DaemonDirectories,
    TaskProgress,
)
from tests.unit.makima.server.stage import Json, Team, team

pytestmark = pytest.mark.live


@pytest.fixture
async def crew(tmp_path: Path) -> AsyncIterator[Team]:
    async with team(tmp_path) as made:
        yield made


RESULT = json.dumps(
    {
        "type": "result",
        "subtype": "success",
        "is_error": False,
        "result": "All done.",
        "num_turns": 2,
        "total_cost_usd": 0.25,
        "usage": {"input_tokens": 10, "output_tokens": 5},
    }
)


async def test_a_task_from_beginning_to_end(crew: Team) -> None:
    task = await crew.create(
        "Write a poem\nabout the sea", repo="/srv/poems", action="merge", targetBranch="main"
    )
    assert (task["status"], task["name"]) == ("pending", "Write a poem")
    assert task["waitsFor"] == "a daemon: none is connected"

    daemon = await crew.daemon()
    await daemon.say(
        DaemonDirectories(working_directory="/w", home_directory="/h", worktrees_directory="/t")
    )
    order = await daemon.spawned()
    assert order["taskId"] == task["id"]
    assert order["plan"] == "Write a poem\nabout the sea"
    assert (order["repoUrl"], order["completionAction"]) == ("/srv/poems", "merge")
    assert (order["targetBranch"], order["isOrchestrator"], order["depth"]) == ("main", False, 0)

    await daemon.runs(task["id"])
    await daemon.say(TaskProgress(task_id=UUID(task["id"]), summary="Bash: ls"))
    running = await crew.until(task["id"], status="running", summary="Bash: ls")
    assert running["daemon"] == {"id": str(daemon.id), "hostname": "host-m1"}
    assert running["branch"] == f"makima/task-{task['id'][:8]}"

    await daemon.prints(task["id"], '{"type":"assistant"}')
    await daemon.prints(task["id"], RESULT[:40], partial=True)
    await daemon.prints(task["id"], RESULT[40:])
    await daemon.say(
        CompletionActionResult(
            task_id=UUID(task["id"]), success=True, message="merged", pr_url=None
        )
    )
    await daemon.ends(task["id"])
    done = await crew.get(f"/tasks/{task['id']}", waitS=5)
    assert (done["status"], done["result"], done["error"]) == ("done", "All done.", "")
    assert done["figures"] == {
        "turns": 2,
        "inputTokens": 10,
        "outputTokens": 5,
        "cacheReadTokens": 0,
        "cacheCreationTokens": 0,
        "costUsd": 0.25,
    }
    assert done["actionOutcome"] == {"success": True, "message": "merged", "prUrl": None}
    assert [each["status"] for each in done["attempts"]] == ["done"]

    page = await crew.get(f"/tasks/{task['id']}/output")
    assert [(each["number"], each["partial"]) for each in page["items"]] == [
        (1, False),
        (2, True),
        (3, False),
    ]
    assert page["items"][1]["text"] + page["items"][2]["text"] == RESULT
    assert (page["ended"], page["more"], page["next"]) == (True, False, 3)
    (last,) = (await crew.get(f"/tasks/{task['id']}/output", last=1))["items"]
    assert last["number"] == 3

    history = (await crew.get(f"/tasks/{task['id']}/events"))["items"]
    assert [(each["what"], each["text"]) for each in history] == [
        ("created", "Write a poem"),
        ("assigned", "given to host-m1"),
        ("status", "initializing"),
        ("status", "running"),
        ("progress", "Bash: ls"),
        ("turn", "a turn has ended"),
        ("action", "merged"),
        ("changed", "about to be done"),
        ("status", "done"),
    ]
    (there,) = (await crew.get("/daemons"))["items"]
    assert there["directories"] == {"working": "/w", "home": "/h", "worktrees": "/t"}
    assert (there["connected"], there["activeTasks"], there["relay"]) == (True, 0, False)


async def test_asking_twice_with_one_id_makes_one_task(crew: Team) -> None:
    id_ = str(uuid4())
    first = await crew.create("one", id=id_)
    assert (await crew.create("one", id=id_))["id"] == first["id"] == id_
    other = await crew.call("POST", "/tasks", {"plan": "another", "id": id_})
    assert (other.status, other.code) == (409, "id_taken")
    assert (await crew.get("/tasks"))["total"] == 1


async def test_dependencies_go_first_and_a_failed_one_takes_the_others_along(crew: Team) -> None:
    first = await crew.create("first")
    second = await crew.create("second", dependencies=[first["id"]])
    third = await crew.create("third", dependencies=[second["id"]])
    assert second["waitsFor"] == "a task that is not done yet"
    daemon = await crew.daemon()
    assert (await daemon.spawned())["taskId"] == first["id"]
    await daemon.runs(first["id"])
    await daemon.ends(first["id"], success=False, error="it rained")
    failed = await crew.until(third["id"], status="failed")
    assert failed["error"] == "the task “second” that it depends on failed"
    late = await crew.create("late", dependencies=[third["id"]])
    assert (late["status"], late["error"]) == (
        "failed",
        "the task “third” that it depends on is failed",
    )

    retried = await crew.post(f"/tasks/{first['id']}/retry")
    assert retried["status"] == "pending"
    await crew.until(third["id"], status="pending")
    again = await daemon.spawned(2)
    assert again["continueFromTaskId"] == first["id"]
    assert again["taskId"] != first["id"]
    assert "An earlier attempt at this task ended: it rained" in again["plan"]
    await daemon.runs(again["taskId"])
    await daemon.ends(again["taskId"])
    assert (await daemon.spawned(3))["taskId"] == second["id"]
    done = await crew.until(first["id"], status="done")
    assert [each["status"] for each in done["attempts"]] == ["failed", "done"]
    # A task is also known by the ids of its attempts.
    assert (await crew.get(f"/tasks/{again['taskId']}"))["id"] == first["id"]


async def test_a_task_is_tried_as_often_as_is_allowed(crew: Team) -> None:
    task = await crew.create("try", maxAttempts=2)
    daemon = await crew.daemon()
    for attempt in (1, 2):
        order = await daemon.spawned(attempt)
        await daemon.runs(order["taskId"])
        await daemon.ends(order["taskId"], success=False, error=f"no {attempt}")
    failed = await crew.until(task["id"], status="failed")
    assert [each["error"] for each in failed["attempts"]] == ["no 1", "no 2"]


async def test_priorities_and_room(crew: Team) -> None:
    low = await crew.create("low")
    high = await crew.create("high", priority=9)
    daemon = await crew.daemon(most=1)
    assert (await daemon.spawned())["taskId"] == high["id"]
    await daemon.beat(high["id"])
    assert len(daemon.wire.of("spawnTask")) == 1
    await daemon.runs(high["id"])
    await daemon.ends(high["id"])
    assert (await daemon.spawned(2))["taskId"] == low["id"]


async def test_what_has_not_begun_is_held_and_ended_without_a_daemon(crew: Team) -> None:
    task = await crew.create()
    paused = await crew.post(f"/tasks/{task['id']}/pause")
    assert (paused["status"], paused["attention"]) == (
        "paused",
        "it is held until somebody resumes it",
    )
    assert (await crew.post(f"/tasks/{task['id']}/resume"))["status"] == "pending"
    ended = await crew.post(f"/tasks/{task['id']}/interrupt")
    assert (ended["status"], ended["error"]) == ("interrupted", "interrupted")
    again = await crew.call("POST", f"/tasks/{task['id']}/interrupt")
    assert (again.status, again.code) == (409, "wrong_state")
    told = await crew.call("POST", f"/tasks/{task['id']}/message", {"text": "hello"})
    assert (told.status, told.code) == (409, "wrong_state")


async def test_commands_reach_the_agent(crew: Team) -> None:
    daemon = await crew.daemon()
    task, other = await crew.create("one"), await crew.create("other")
    await daemon.spawned(2)
    await daemon.runs(task["id"])
    place = f"/tasks/{task['id']}"
    await crew.until(task["id"], status="running")
    await crew.post(f"{place}/message", {"text": "be quick"})
    await crew.post(f"{place}/sibling", {"sibling": other["id"], "changedFiles": ["a.py"]})
    await crew.post(f"{place}/pause")
    await daemon.status(task["id"], "running", "paused")
    await crew.until(task["id"], status="paused")
    await crew.post(f"{place}/resume")
    await crew.post(f"{place}/interrupt", {"graceful": False})
    said = (await daemon.wire.heard("interruptTask", 2))[-1]
    assert said["graceful"] is False
    assert [each.type for each in daemon.wire.commands()][2:] == [
        *("sendMessage", "injectSiblingContext", "pauseTask", "resumeTask"),
        *("interruptTask", "interruptTask"),
    ]
    assert daemon.wire.of("injectSiblingContext")[0]["siblingName"] == "other"
    await daemon.status(task["id"], "running", "interrupted")
    await daemon.ends(task["id"], success=False, error="killed")
    assert (await crew.until(task["id"], status="interrupted"))["error"] == "killed"


def names(page: Json) -> list[str]:
    return [each["name"] for each in page["items"]]


async def test_tasks_are_listed_by_what_is_asked_for(crew: Team) -> None:
    lead = await crew.create("lead", orchestrator=True)
    part = await crew.create("a part of it", parent=lead["id"])
    await crew.create("third", name="Some Other", repo="https://example.org/x.git")
    assert names(await crew.get("/tasks")) == ["Some Other", "a part of it", "lead"]
    assert names(await crew.get("/tasks", limit=1, offset=1)) == ["a part of it"]
    assert names(await crew.get("/tasks", parent=lead["id"])) == ["a part of it"]
    assert names(await crew.get("/tasks", top="true")) == ["Some Other", "lead"]
    assert names(await crew.get("/tasks", search="EXAMPLE.org")) == ["Some Other"]
    await crew.post(f"/tasks/{lead['id']}/interrupt")
    assert (await crew.get(f"/tasks/{part['id']}"))["error"] == "its orchestrator has ended"
    assert (await crew.get("/tasks", status="interrupted"))["total"] == 2
    await crew.post(f"/tasks/{lead['id']}/archive")
    assert names(await crew.get("/tasks")) == ["Some Other"]
    assert names(await crew.get("/tasks", archived="true")) == ["a part of it", "lead"]
    overview = await crew.get("/overview")
    assert overview["tasks"]["pending"] == 1
    assert overview["tasks"]["interrupted"] == 0


async def test_who_waits_for_an_end_hears_of_it_at_once(crew: Team) -> None:
    task = await crew.create()
    waiting = asyncio.create_task(crew.get(f"/tasks/{task['id']}", waitS=60))
    await asyncio.sleep(0.05)
    await crew.post(f"/tasks/{task['id']}/interrupt")
    async with asyncio.timeout(3):
        assert (await waiting)["status"] == "interrupted"
