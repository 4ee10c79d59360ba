"""The daemon as a user runs it: real VMs, the real Claude Code, a server under our control.

More than the suite has time for (`make soak`); tests/live has one task from end to end
(test_makima_up.py).
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tachikoma.host.clock import SystemClock
from tachikoma.makima.commands import (
    InterruptTask,
    MergeCommit,
    MergeResolve,
    MergeStart,
    PauseTask,
    ResumeTask,
    SendMessage,
    SpawnTask,
)
from tests.doubles.makima_server import Frame, MakimaServer
from tests.live.conftest import User
from tests.waiting import until

pytestmark = pytest.mark.live_qemu
_TASK_S = 120.0
_KEY = "mk-live-0123456789abcdef"


def task(number: int) -> UUID:
    return UUID(f"{number:08x}-e29b-41d4-a716-446655440000")


@dataclass
class Fleet:
    """A user with a daemon, and its server."""

    user: User
    server: MakimaServer
    origin: Path
    log: Path
    settings: dict[str, str] = field(default_factory=dict)

    @asynccontextmanager
    async def daemon(self, **settings: str) -> AsyncIterator[Any]:
        environ = {
            "MAKIMA_API_KEY": _KEY,
            "MAKIMA_DAEMON_SERVER_URL": self.server.url,
            "MAKIMA_DAEMON_SERVER_RECONNECTINTERVALSECS": "1",
            "MAKIMA_DAEMON_PROCESS_ISOLATION": "vm",
            **settings,
        }
        with self.user.started("makima", "daemon", env=environ, log=self.log) as process:
            connection = await self.server.daemon(deadline_s=30)
            yield process
            process.kill()
            await self.server.over(connection.number)

    async def order(self, number: int, plan: str, **fields: Any) -> None:
        given: dict[str, Any] = {"depth": 0, "is_orchestrator": False, "repo_url": str(self.origin)}
        daemon = await self.server.daemon()
        await daemon.send(SpawnTask(task_id=task(number), plan=plan, **{**given, **fields}))

    async def tell(self, command: Any) -> None:
        await (await self.server.daemon()).send(command)

    async def merged(self, number: int, step: Any) -> Frame:
        before = len(self.of(number, "mergeResult"))
        await self.tell(step)
        await self.server.until(
            lambda: len(self.of(number, "mergeResult")) > before, deadline_s=_TASK_S
        )
        return self.of(number, "mergeResult")[-1]

    async def completed(self, number: int) -> Frame:
        await self.server.until(lambda: self.of(number, "taskComplete"), deadline_s=_TASK_S)
        (one,) = self.of(number, "taskComplete")
        return one

    def of(self, number: int, kind: str) -> list[Frame]:
        return [
            frame
            for frame in self.server.frames
            if frame.get("taskId") == str(task(number)) and frame["type"] == kind
        ]

    def statuses(self, number: int) -> list[str]:
        return [frame["newStatus"] for frame in self.of(number, "taskStatusChange")]

    async def status(self, number: int, status: str) -> None:
        await self.server.until(lambda: self.statuses(number)[-1:] == [status], deadline_s=_TASK_S)

    def events(self, number: int) -> list[Any]:
        pieces = self.of(number, "taskOutput")
        text = "".join(f["output"] + ("" if f["isPartial"] else "\n") for f in pieces)
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def git(self, *arguments: str, at: Path | None = None) -> str:
        done = self.user.run_any("git", "-C", str(at or self.origin), *arguments)
        return done.stdout.strip()

    @property
    def clone(self) -> Path:
        (found,) = (
            each
            for each in (self.user.home / ".makima" / "repos").iterdir()
            if each.name.startswith("app")
        )
        return found

    def worktree(self, number: int) -> Path:
        return self.user.home / ".makima" / "worktrees" / f"task-{task(number).hex[:8]}"

    def vms(self) -> list[str]:
        return [vm["name"] for vm in self.user.run("list", "--json").json["data"]["vms"]]


@pytest.fixture
async def fleet(live_user: User, tmp_path: Path) -> AsyncIterator[Fleet]:
    # Agents commit as whoever the user is.
    live_user.run_any("git", "config", "--global", "user.name", "A. User")
    live_user.run_any("git", "config", "--global", "user.email", "user@example.org")
    origin = live_user.repository()
    (origin / "a.txt").write_text("first\n")
    live_user.run_any("git", "-C", str(origin), "add", ".")
    live_user.run_any("git", "-C", str(origin), "commit", "-q", "-m", "A file")
    async with MakimaServer() as server:
        yield Fleet(live_user, server, origin, tmp_path / "daemon.log")


async def test_an_agent_in_a_vm_is_held_found_again_and_gone_on_from(fleet: Fleet) -> None:
    ticking = "for i in $(seq 1 3000); do echo $i >> ticks; sleep 0.1; done"
    async with fleet.daemon() as process:
        await fleet.order(1, f"run: {ticking}")
        ticks = fleet.worktree(1) / "ticks"
        await until(lambda: ticks.exists() and len(ticks.read_text()) > 5, deadline_s=_TASK_S)
        await fleet.tell(PauseTask(task_id=task(1)))
        await fleet.status(1, "paused")
        await SystemClock().sleep(1)
        held = ticks.read_text()
        await SystemClock().sleep(1)
        assert ticks.read_text() == held
        process.kill()
    async with fleet.daemon():
        await fleet.tell(ResumeTask(task_id=task(1)))
        await until(lambda: ticks.read_text() != held, deadline_s=_TASK_S)
        await fleet.tell(SendMessage(task_id=task(1), message="and be quick"))
        await fleet.tell(InterruptTask(task_id=task(1), graceful=True))
        done = await fleet.completed(1)
        assert done["error"] == "the task was interrupted by its server"
        again = {"continue_from_task_id": task(1), "parent_task_id": task(1)}
        await fleet.order(2, "run: head -1 ticks", copy_files=("a.txt",), **again)
        await fleet.order(3, "run: touch begun; sleep 600")
        begun = fleet.worktree(3) / "begun"
        await until(begun.exists, deadline_s=_TASK_S)
        await fleet.tell(InterruptTask(task_id=task(3), graceful=False))
        assert (await fleet.completed(3))["error"] == "the task was killed by its server"
        assert (await fleet.completed(2))["success"]
        assert fleet.vms() == []
    assert fleet.statuses(1) == ["initializing", "running", "paused", "running", "interrupted"]
    files = fleet.git("ls-tree", "--name-only", "makima/task-00000002", at=fleet.clone)
    assert files.split() == ["a.txt", "ticks"]


async def test_an_orchestrator_in_a_vm_leads_two_subtasks(fleet: Fleet) -> None:
    ask = (
        "import os,urllib.request as u;"
        "u.urlopen(u.Request(os.environ['MAKIMA_API_URL']+'/api/v1/tasks',"
        "headers={'Authorization':'Bearer '+os.environ['MAKIMA_API_KEY']}))"
    )
    wait = "for i in $(seq 1 600); do grep -q three a.txt && break; sleep 0.5; done; cat a.txt"
    mine = {"target_repo_path": str(fleet.origin), "target_branch": "main"}
    async with fleet.daemon():
        await fleet.order(
            1,
            f'run: python3 -c "{ask}" && {wait}',
            is_orchestrator=True,
            completion_action="merge",
            **mine,
        )
        await until(lambda: bool(fleet.server.api), deadline_s=_TASK_S)
        (key,) = [frame["key"] for frame in fleet.of(1, "registerToolKey")]
        assert fleet.server.api == [("/api/v1/tasks", f"Bearer {key}")]
        for number, word in ((2, "two"), (3, "three")):
            part = {"parent_task_id": task(1), "depth": 1, "repo_url": None}
            await fleet.order(number, f"run: echo {word} > a.txt", **part)
        for number in (2, 3):
            assert (await fleet.completed(number))["success"]
        steps = (
            (MergeStart(task_id=task(1), source_branch="makima/task-00000002"), True),
            (MergeCommit(task_id=task(1), message="Take two"), True),
            (MergeStart(task_id=task(1), source_branch="makima/task-00000003"), False),
            (MergeResolve(task_id=task(1), file="a.txt", strategy="theirs"), True),
            (MergeCommit(task_id=task(1), message="Take three"), True),
        )
        for step, success in steps:
            assert (await fleet.merged(1, step))["success"] is success
        assert (await fleet.completed(1))["error"] is None
        assert fleet.vms() == []
    assert (fleet.origin / "a.txt").read_text() == "three\n"
    assert len(fleet.of(1, "revokeToolKey")) == 1
    subjects = fleet.git("log", "--first-parent", "--format=%s", "main").splitlines()
    assert subjects[-2:] == ["A file", "First"]


async def test_a_task_runs_in_a_vm_and_ends_on_its_branch(fleet: Fleet) -> None:
    commit = "git add -A && git commit -q -m 'By the agent'"
    async with fleet.daemon() as process:
        await fleet.order(
            1,
            f"run: echo made > made.txt && {commit} && echo left > left.txt && hostname",
            task_name="Make a file",
            completion_action="branch",
            target_repo_path=str(fleet.origin),
        )
        done = await fleet.completed(1)
        assert (done["success"], done["error"]) == (True, None)
        assert fleet.vms() == []
        process.terminate()
        assert process.wait(30) == 0
    assert fleet.statuses(1) == ["initializing", "running", "done"]
    kinds = [event["type"] for event in fleet.events(1)]
    assert kinds.index("system") < kinds.index("assistant") < kinds.index("result")
    subjects = fleet.git("log", "--format=%s", "makima/task-00000001").splitlines()
    assert subjects == ["Make a file", "By the agent", "A file", "First"]
    assert fleet.user.secret not in fleet.log.read_text()
    listed = fleet.user.run("makima", "tasks", "--all", "--json").json["data"]["tasks"]
    assert [(each["status"], each["isolation"]) for each in listed] == [("done", "vm")]


async def test_a_task_that_takes_too_long_is_ended(fleet: Fleet) -> None:
    async with fleet.daemon(MAKIMA_DAEMON_PROCESS_DEFAULTTIMEOUTSECS="15"):
        await fleet.order(1, "run: sleep 600")
        late = await fleet.completed(1)
        assert late["error"] == "it took longer than 15 s (`process.default_timeout_secs`)"
        assert fleet.vms() == []
    assert fleet.statuses(1) == ["initializing", "running", "failed"]
