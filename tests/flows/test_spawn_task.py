"""A task from the server's order to its completion: real WebSockets, git, processes; no VM."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from tachikoma.host.clock import SystemClock
from tachikoma.makima.book import Book, BookReader
from tachikoma.makima.commands import InterruptTask, PauseTask, ResumeTask, SendMessage, SpawnTask
from tachikoma.makima.record import Figures, TaskRecord
from tachikoma.model.errors import DiskFullError
from tests.flows.makima_stage import ONE, THREE, TWO, Stage, stage_at
from tests.waiting import until

pytestmark = pytest.mark.live  # git and processes


@pytest.fixture
async def stage(own_home: Path) -> AsyncIterator[Stage]:
    async with stage_at(own_home) as stage:
        yield stage


async def test_a_task_ends_with_its_work_on_a_branch(stage: Stage) -> None:
    async with stage.daemon():
        await stage.order(ONE, "say hello\nprint 500\nwrite a.txt done", task_name="Add a file")
        done = await stage.completed(ONE)
    assert done == {"type": "taskComplete", "taskId": str(ONE), "success": True, "error": None}
    assert stage.statuses(ONE) == ["initializing", "running", "done"]
    lines = stage.output(ONE).splitlines()
    assert len(lines) == 503
    assert [f'"number": {n}}}' in lines[n + 2] for n in range(500)] == [True] * 500
    branch = "makima/task-150e8400"
    assert stage.git("log", "-1", "--format=%s %an", branch, at=stage.clone()) == "Add a file Ada"
    assert stage.git("show", f"{branch}:a.txt", at=stage.clone()) == "done"
    kinds = [frame["type"] for frame in stage.server.frames[:2]]
    assert kinds == ["authenticate", "daemonDirectories"]


async def test_what_does_not_start_says_why(stage: Stage) -> None:
    async with stage.daemon():
        await stage.order(ONE, "say hello", base_branch="nope")
        await stage.order(TWO, "say hello", repo_url=str(stage.home / "nowhere"))
        first, second = await stage.completed(ONE), await stage.completed(TWO)
    assert (first["success"], second["success"]) == (False, False)
    assert "nope" in first["error"]
    assert "main" in first["error"]
    assert "nowhere" in second["error"]
    assert stage.statuses(ONE) == ["initializing", "failed"]


async def test_tasks_wait_for_a_place_in_the_order_of_their_arrival(stage: Stage) -> None:
    process = replace(stage.settings.process, max_concurrent_tasks=1)
    stage.settings = replace(stage.settings, process=process)
    async with stage.daemon():
        for task in (ONE, TWO, THREE):
            await stage.order(task, "say hello")
        for task in (ONE, TWO, THREE):
            assert (await stage.completed(task))["success"]
    order = [f["taskId"] for f in stage.server.frames if f["type"] == "taskComplete"]
    assert order == [str(ONE), str(TWO), str(THREE)]
    started = [
        (f["taskId"], f["newStatus"])
        for f in stage.server.frames
        if f["type"] == "taskStatusChange" and f["newStatus"] in {"running", "done"}
    ]
    assert started == [(str(t), s) for t in (ONE, TWO, THREE) for s in ("running", "done")]


async def test_a_message_in_mid_run_is_heard(stage: Stage) -> None:
    async with stage.daemon():
        await stage.order(ONE, "say begun\nsleep 1")
        await stage.server.until(lambda: "begun" in stage.output(ONE))
        daemon = await stage.server.daemon()
        await daemon.send(SendMessage(task_id=ONE, message="write b.txt more"))
        assert (await stage.completed(ONE))["success"]
    worktree = stage.home / "w" / "task-150e8400"
    assert (worktree / "b.txt").read_text() == "more\n"


async def test_a_task_that_is_paused_stands_still_with_all_its_processes(stage: Stage) -> None:
    ticking = "run for i in $(seq 1 1000); do echo $i >> ticks; sleep 0.02; done"
    async with stage.daemon():
        await stage.order(ONE, ticking)
        ticks = stage.home / "w" / "task-150e8400" / "ticks"
        await stage.server.until(lambda: stage.statuses(ONE)[-1:] == ["running"])
        daemon = await stage.server.daemon()
        await daemon.send(PauseTask(task_id=ONE))
        await stage.server.until(lambda: stage.statuses(ONE)[-1:] == ["paused"])
        await SystemClock().sleep(0.5)
        held = ticks.read_text() if ticks.exists() else ""
        await SystemClock().sleep(0.5)
        assert (ticks.read_text() if ticks.exists() else "") == held
        await daemon.send(ResumeTask(task_id=ONE))
        await until(lambda: ticks.exists() and ticks.read_text() != held)
        await daemon.send(InterruptTask(task_id=ONE, graceful=False))
        done = await stage.completed(ONE)
    assert done["error"] == "the task was killed by its server"
    assert stage.statuses(ONE) == ["initializing", "running", "paused", "running", "interrupted"]
    last = ticks.read_text()
    await SystemClock().sleep(0.2)
    assert ticks.read_text() == last


async def test_a_graceful_interrupt_lets_the_agent_finish_its_words(stage: Stage) -> None:
    async with stage.daemon():
        await stage.order(ONE, "say begun\nsleep 0.5\nsay never")
        await stage.server.until(lambda: "begun" in stage.output(ONE))
        await (await stage.server.daemon()).send(InterruptTask(task_id=ONE, graceful=True))
        done = await stage.completed(ONE)
    assert done["error"] == "the task was interrupted by its server"
    assert "error_during_execution" in stage.output(ONE)
    assert "never" not in stage.output(ONE)


async def test_a_task_that_takes_too_long_fails(stage: Stage) -> None:
    process = replace(stage.settings.process, default_timeout_secs=1)
    stage.settings = replace(stage.settings, process=process)
    async with stage.daemon():
        await stage.order(ONE, "sleep 0.3\n" * 100)
        done = await stage.completed(ONE)
    assert done["error"] == "it took longer than 1 s (`process.default_timeout_secs`)"
    assert stage.statuses(ONE)[-1] == "failed"


async def test_a_daemon_that_comes_back_loses_no_line(stage: Stage) -> None:
    async with stage.daemon():
        await stage.order(ONE, "print 100\nsleep 2\nprint 100")
        await stage.server.until(lambda: '"number": 99' in stage.output(ONE))
    async with stage.daemon():
        assert (await stage.completed(ONE))["success"]
    numbers = [int(n) for n in re.findall(r'"number": (\d+)', stage.output(ONE))]
    assert numbers == [*range(100), *range(100)]
    assert stage.statuses(ONE) == ["initializing", "running", "done"]


async def test_a_task_goes_on_from_another_and_takes_files_of_its_parent(stage: Stage) -> None:
    async with stage.daemon():
        await stage.order(ONE, "write a.txt one\nwrite b.txt two\nfail no", task_name="First")
        assert not (await stage.completed(ONE))["success"]
        await stage.order(TWO, "write c.txt three", continue_from_task_id=ONE)
        await stage.order(THREE, "say hi", parent_task_id=ONE, copy_files=("b.txt",))
        assert (await stage.completed(TWO))["success"]
        assert (await stage.completed(THREE))["success"]
    files = stage.git("ls-tree", "--name-only", "makima/task-250e8400", at=stage.clone())
    assert files.split() == ["README", "a.txt", "b.txt", "c.txt"]
    files = stage.git("ls-tree", "--name-only", "makima/task-350e8400", at=stage.clone())
    assert files.split() == ["README", "b.txt"]


async def test_the_variables_of_the_settings_reach_the_agent_and_figures_the_book(
    stage: Stage,
) -> None:
    process = replace(stage.settings.process, env_vars={"COLOUR": "green"})
    stage.settings = replace(stage.settings, process=process)
    async with stage.daemon():
        await stage.order(ONE, "env COLOUR\nenv MAKIMA_TASK_ID")
        assert (await stage.completed(ONE))["success"]
    assert "COLOUR=green" in stage.output(ONE)
    assert f"MAKIMA_TASK_ID={ONE}" in stage.output(ONE)
    async with BookReader.at(stage.settings.local_db.path) as book:
        (record,) = await book.tasks()
    assert record.figures == Figures(turns=1, input_tokens=100, output_tokens=10, cost_usd=0.25)


async def test_a_task_that_meets_a_full_disk_is_taken_up_when_there_is_room(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    admit, full = Book.admit, [DiskFullError("no space is left", hint="free some")] * 2

    async def admit_later(book: Book, order: SpawnTask) -> TaskRecord | None:
        if full:
            raise full.pop()
        return await admit(book, order)

    caplog.set_level("INFO", logger="tachikoma.makima.room")
    monkeypatch.setattr(Book, "admit", admit_later)
    monkeypatch.setattr("tachikoma.makima.room._LOOK_AGAIN_S", 0.05)
    async with stage.daemon():
        await stage.order(ONE, "write a.txt one")
        assert (await stage.completed(ONE))["success"]
    waits = [each for each in caplog.messages if f"task {ONE} waits: no space is left" in each]
    assert len(waits) == 1
    assert f"task {ONE} goes on: there is room on the disk again" in caplog.messages
