from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import UUID

import pytest

from tachikoma.host.clock import SystemClock
from tachikoma.host.tasks import end, spawn
from tachikoma.makima.book import Book
from tachikoma.makima.record import TaskRecord, TaskStatus, Verdict
from tachikoma.makima.settings import ProcessSettings
from tachikoma.makima.tasks.life import Life
from tachikoma.makima.tasks.memory import (
    MemoryActions,
    MemoryAgent,
    MemoryPlace,
    MemoryWorktrees,
    answer,
    result,
)
from tachikoma.makima.tasks.port import ActionOutcome, AgentSignal
from tachikoma.model.errors import GitError
from tachikoma.model.errors_fleet import AgentClosedError, WorkspaceError
from tests.unit.makima.tasks.world import TASK, World
from tests.waiting import until

_WAIT_S = 5.0


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with Book.at(tmp_path / "daemon.db", clock=SystemClock()) as book:
        yield World(book, MemoryPlace(), MemoryWorktrees(tmp_path), MemoryActions())


ENDED_WELL = [
    "pending > initializing",
    "initializing > running",
    *["output"] * 3,
    "running > done",
    "complete True None",
]


def silent(text: str) -> list[str]:
    del text
    return []


async def test_a_task_goes_from_its_order_to_its_completion(world: World) -> None:
    life = await world.life()
    await life.run()
    assert await world.told() == ENDED_WELL
    assert world.worktrees.commits == ["Build it"]
    assert world.actions.done == []
    assert world.place.down == [TASK]
    assert world.place.agents[TASK].told == ["Build it"]
    assert len(world.kept) == 3
    record = await world.book.task(TASK)
    assert record == life.record
    assert (record.status, record.result, record.session) == (TaskStatus.DONE, "", "s-1")
    assert record.figures.turns == 1


async def test_progress_is_what_the_heart_reports_and_what_the_agent_does(world: World) -> None:
    life = await world.life()
    await life.run()
    said = [each.summary for each in await world.said() if each.type == "taskProgress"]
    assert said == ["Making the worktree", "Starting the VM", "Build it"]


async def test_the_agent_gets_the_settings_variables_and_a_leader_its_key(world: World) -> None:
    world.settings = ProcessSettings(
        claude_command="/opt/claude", env_vars=MappingProxyType({"DEBUG": "1"})
    )
    life = await world.life(is_orchestrator=True)
    await life.run()
    launch = world.place.agents[TASK].launch
    assert launch is not None
    assert launch.argv[0] == "/opt/claude"
    assert launch.directory == world.worktrees.base / "task-550e8400"
    key = launch.env["MAKIMA_API_KEY"]
    assert dict(launch.env) == {
        "GIT_AUTHOR_NAME": "tachikoma",
        "DEBUG": "1",
        "MAKIMA_TASK_ID": str(TASK),
        "MAKIMA_API_KEY": key,
        "MAKIMA_API_URL": "http://server/from-inside",
    }
    told = await world.told()
    assert told.index("registerToolKey") < told.index("initializing > running")
    assert told[-3:] == ["revokeToolKey", "running > done", "complete True None"]
    assert [each.key for each in await world.said() if each.type == "registerToolKey"] == [key]
    assert life.record.tool_key == ""


async def test_a_worktree_that_cannot_be_made_fails_the_task_with_the_reason(world: World) -> None:
    world.worktrees.failure = WorkspaceError("there is no branch nope", hint="there is main")
    life = await world.life()
    await life.run()
    assert await world.told() == [
        "pending > initializing",
        "initializing > failed",
        "complete False there is no branch nope (there is main)",
    ]
    assert world.place.down == []


async def test_work_that_is_not_here_cannot_be_gone_on_from(world: World) -> None:
    life = await world.life(continue_from_task_id=UUID(int=7))
    await life.run()
    assert (await world.told())[-1] == (
        "complete False there is no work of the task 00000000-0000-0000-0000-000000000007 here "
        "to go on from (it ran elsewhere, or never had a worktree)"
    )


async def test_a_vm_that_does_not_come_up_is_taken_down(world: World) -> None:
    world.place.failure = GitError("no VM")
    life = await world.life()
    await life.run()
    assert (await world.told())[-1] == "complete False no VM"
    assert world.place.down == [TASK]


@pytest.mark.parametrize(
    ("react", "status", "error"),
    [
        (lambda _: [result(is_error=True, result="API Error: 500")], 1, "API Error: 500"),
        (silent, 1, "Claude Code ended (exit status 1) before it finished a turn: no such model"),
        (lambda _: [result()], 9, "Claude Code ended badly (exit status 9): no such model"),
    ],
)
async def test_an_agent_that_ends_badly_fails_its_task_and_its_work_stays(
    world: World, react: Any, status: int, error: str
) -> None:
    agent = world.place.agents[TASK] = MemoryAgent(react)
    agent.deaf = True
    life = await world.life(completion_action="merge")
    running = spawn(life.run(), name="life")
    await world.agent()
    agent.print("no such model", stderr=True)
    agent.exit(status)
    await running
    assert (await world.told())[-1] == f"complete False {error}"
    assert (world.worktrees.commits, world.actions.done) == ([], [])


async def test_the_completion_action_is_done_once_the_work_is_committed(world: World) -> None:
    life = await world.life(
        completion_action="merge", target_repo_path="/home/ada/app", target_branch="main"
    )
    await life.run()
    assert world.actions.done == [("merge", "Build it", Path("/home/ada/app"), "main")]
    assert (await world.told())[-3:] == [
        "action True it is done",
        "running > done",
        "complete True None",
    ]


async def test_an_action_that_fails_leaves_the_task_done_and_is_told(world: World) -> None:
    world.actions.outcome = ActionOutcome(success=False, message="a.txt is in conflict")
    life = await world.life(completion_action="merge")
    await life.run()
    said = await world.told()
    assert said[-3] == "action False a.txt is in conflict"
    assert said[-1] == (
        "complete True the work is on makima/task-550e8400, but the action `merge` failed: "
        "a.txt is in conflict"
    )


async def test_a_message_reaches_the_agent_in_mid_run(world: World) -> None:
    agent = world.place.agents[TASK] = MemoryAgent(silent)
    life = await world.life()
    running = spawn(life.run(), name="life")
    await world.agent()
    await world.until(life, TaskStatus.RUNNING)
    await life.tell("and test it")
    agent.print(*answer("done"))
    await running
    assert agent.told == ["Build it", "and test it"]
    with pytest.raises(AgentClosedError):
        await life.tell("too late")


async def test_pause_and_resume_reach_the_agent_and_are_not_counted(world: World) -> None:
    agent = world.place.agents[TASK] = MemoryAgent(silent)
    world.settings = ProcessSettings(default_timeout_secs=100)
    life = await world.life()
    running = spawn(life.run(), name="life")
    await world.agent()
    await world.until(life, TaskStatus.RUNNING)
    await life.pause()
    await life.pause()
    await world.clock.sleep(1000)
    await life.resume()
    await life.resume()
    assert agent.signals == [AgentSignal.PAUSE, AgentSignal.RESUME]
    assert life.record.paused_s == 1000
    agent.print(*answer("done"))
    await running
    assert (await world.told())[2:] == [
        "running > paused",
        "paused > running",
        *["output"] * 3,
        "running > done",
        "complete True None",
    ]


async def test_a_task_that_is_paused_while_its_vm_boots_starts_held(world: World) -> None:
    world.place.slow.clear()
    agent = world.place.agents[TASK] = MemoryAgent(silent)
    life = await world.life()
    running = spawn(life.run(), name="life")
    await world.until(life, TaskStatus.INITIALIZING)
    await life.pause()
    world.place.slow.set()
    await world.agent()
    await until(lambda: bool(agent.signals))
    assert (agent.signals, life.record.status) == ([AgentSignal.PAUSE], TaskStatus.PAUSED)
    await life.resume()
    agent.print(*answer("done"))
    await running
    assert (await world.told())[:3] == [
        "pending > initializing",
        "initializing > paused",
        "paused > running",
    ]


async def test_a_graceful_interrupt_asks_the_agent(world: World) -> None:
    agent = world.place.agents[TASK] = MemoryAgent(silent)
    life = await world.life()
    running = spawn(life.run(), name="life")
    await world.agent()
    await world.until(life, TaskStatus.RUNNING)
    await life.interrupt(graceful=True)
    await running
    assert agent.signals == [AgentSignal.RESUME]
    assert (await world.told())[-2:] == [
        "running > interrupted",
        "complete False the task was interrupted by its server",
    ]
    assert world.worktrees.commits == []


async def test_a_hard_interrupt_kills_at_once_also_after_a_graceful_one(world: World) -> None:
    agent = world.place.agents[TASK] = MemoryAgent(silent)
    agent.deaf = True
    life = await world.life()
    running = spawn(life.run(), name="life")
    await world.agent()
    await world.until(life, TaskStatus.RUNNING)
    await life.interrupt(graceful=True)
    await life.interrupt(graceful=False)
    async with asyncio.timeout(_WAIT_S):
        await running
    assert agent.signals[-1] is AgentSignal.KILL
    assert (await world.told())[-2] == "running > interrupted"


async def test_an_interrupt_while_the_vm_boots_breaks_that_off(world: World) -> None:
    world.place.slow.clear()
    life = await world.life()
    running = spawn(life.run(), name="life")
    await world.until(life, TaskStatus.INITIALIZING)
    await until(lambda: life.record.workspace is not None)
    await life.interrupt(graceful=True)
    await running
    assert world.place.agents == {}
    assert world.place.down == [TASK]
    assert (await world.told())[-2:] == [
        "initializing > interrupted",
        "complete False the task was interrupted by its server",
    ]


async def test_a_task_that_is_interrupted_before_it_began_only_ends(world: World) -> None:
    life = await world.life()
    await life.interrupt(graceful=False)
    await life.run()
    assert await world.told() == [
        "pending > interrupted",
        "complete False the task was killed by its server",
    ]


async def test_a_task_that_takes_too_long_fails(world: World) -> None:
    world.settings = ProcessSettings(default_timeout_secs=60)
    world.place.agents[TASK] = MemoryAgent(silent)
    life = await world.life()
    running = spawn(life.run(), name="life")
    await world.agent()
    await world.until(life, TaskStatus.RUNNING)
    await world.clock.sleep(61)
    await running
    assert (await world.told())[-2:] == [
        "running > failed",
        "complete False it took longer than 60 s (`process.default_timeout_secs`)",
    ]


async def test_a_vm_that_is_lost_fails_the_task(world: World) -> None:
    agent = world.place.agents[TASK] = MemoryAgent(silent)
    life = await world.life()
    running = spawn(life.run(), name="life")
    await world.agent()
    agent.lose()
    await running
    assert (await world.told())[-1] == (
        "complete False the VM was stopped (its work is in the worktree)"
    )


# A daemon that dies, and the next one


async def again(world: World) -> Life:
    record = await world.book.task(TASK)
    assert record is not None
    return Life(record, world.parts())


async def test_the_next_daemon_goes_on_reading_where_the_last_one_stopped(world: World) -> None:
    agent = world.place.agents[TASK] = MemoryAgent(silent)
    first = spawn((await world.life()).run(), name="life")
    await world.agent()
    agent.print("one", "two")
    await until(lambda: len(world.kept) == 2)
    await end(first)
    agent.print("three", *answer("done"))
    await (await again(world)).run()
    outputs = [each.output for each in await world.said() if each.type == "taskOutput"]
    assert outputs[:3] == ["one", "two", "three"]
    assert agent.told == ["Build it"]
    assert (await world.told())[-1] == "complete True None"


async def test_an_agent_whose_vm_is_gone_meanwhile_fails_with_a_reason(world: World) -> None:
    agent = world.place.agents[TASK] = MemoryAgent(silent)
    life = await world.life()
    first = spawn(life.run(), name="life")
    await world.agent()
    await world.until(life, TaskStatus.RUNNING)
    await end(first)
    agent.lose()
    await (await again(world)).run()
    assert (await world.told())[-2] == "running > failed"
    assert "its VM was stopped or deleted" in (await world.told())[-1]


async def test_a_task_that_was_being_started_is_started_again(world: World) -> None:
    world.place.slow.clear()
    life = await world.life()
    first = spawn(life.run(), name="life")
    await world.until(life, TaskStatus.INITIALIZING)
    await end(first)
    world.place.slow.set()
    await (await again(world)).run()
    assert await world.told() == ENDED_WELL


async def test_an_end_that_was_decided_is_kept_over_a_restart(world: World) -> None:
    agent = world.place.agents[TASK] = MemoryAgent(silent)
    life = await world.life()
    first = spawn(life.run(), name="life")
    await world.agent()
    await world.until(life, TaskStatus.RUNNING)
    await end(first)
    verdict = Verdict(TaskStatus.INTERRUPTED, "the task was interrupted by its server")
    await world.book.write(replace(life.record, verdict=verdict))
    await (await again(world)).run()
    assert agent.signals == [AgentSignal.RESUME] * 2
    assert (await world.told())[-1] == "complete False the task was interrupted by its server"


async def test_what_was_left_to_tidy_up_is_done_by_the_next_daemon(world: World) -> None:
    life = await world.life(completion_action="branch")
    await life.run()
    stored = await world.book.waiting(0, most_bytes=1 << 20)
    await world.book.delivered(stored[-1].seq)
    over: TaskRecord = replace(life.record, status=TaskStatus.RUNNING, ended=None, agent_over=True)
    await world.book.write(over)
    await (await again(world)).run()
    assert await world.told() == ["action True it is done", "running > done", "complete True None"]


# A disk that is full


async def most_pages(book: Book, count: int | None) -> None:
    """Let the book's file have so many pages and no more; None: no more than it has."""
    writing = book._database._writing
    if count is None:
        ((count,),) = await book._database.rows("PRAGMA page_count")
    await writing.execute(f"PRAGMA max_page_count = {count}")


async def test_a_task_waits_while_the_disk_is_full_and_loses_no_line(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    agent = world.place.agents[TASK] = MemoryAgent(silent)
    life = await world.life()
    living = spawn(life.run(), name="life")
    await world.agent()
    await world.until(life, TaskStatus.RUNNING)
    agent.print("before")
    await until(lambda: len(world.kept) == 1)
    await most_pages(world.book, None)
    long = [str(number) * 200_000 for number in range(4)]
    agent.print(*long)
    await until(lambda: "waits: no space is left" in caplog.text)
    await most_pages(world.book, 1_000_000)
    agent.print(*answer("done"))
    await living
    outputs = [each.output for each in await world.said() if each.type == "taskOutput"]
    assert outputs[:5] == ["before", *long]
    assert (await world.told())[-2:] == ["running > done", "complete True None"]


async def test_a_daemon_ends_while_the_disk_is_full_and_the_next_one_reads_it_all(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    agent = world.place.agents[TASK] = MemoryAgent(silent)
    life = await world.life()
    living = spawn(life.run(), name="life")
    await world.agent()
    await world.until(life, TaskStatus.RUNNING)
    await most_pages(world.book, None)
    long = "x" * 1_000_000
    agent.print(long)
    await until(lambda: "waits: no space is left" in caplog.text)
    await end(living)
    await most_pages(world.book, 1_000_000)
    agent.print(*answer("done"))
    await (await again(world)).run()
    outputs = [each.output for each in await world.said() if each.type == "taskOutput"]
    assert outputs[0] == long
    assert (await world.told())[-1] == "complete True None"
