from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from tachikoma.host.clock import SystemClock, attempts
from tachikoma.host.tasks import spawn
from tachikoma.makima.record import Position
from tachikoma.makima.tasks.holder.holding import MOST_UNREAD
from tachikoma.makima.tasks.port import AgentSignal, AgentState
from tachikoma.model.errors_fleet import AgentMissingError
from tests.unit.makima.tasks.stage import SOON_S, Stage, lives, on_stage, read_all
from tests.waiting import until

pytestmark = [pytest.mark.live, pytest.mark.timeout(60)]

# Like the Bash tool of Claude Code: a child in a session of its own, with a child that is left.
FAMILY = """
import os, signal, sys, time
def tick(name):
    count = 0
    while True:
        count += 1
        with open(name, "w") as file: file.write(str(count))
        time.sleep(0.005)
def child(work):
    pid = os.fork()
    if pid == 0:
        work()
        os._exit(0)
    return pid
def tool():
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child(lambda: tick("orphan"))
    child(lambda: tick("tool"))
    time.sleep(60)
def leaves():
    os.setsid()
    child(lambda: tick("left"))
print(child(tool), child(leaves))
if "wait" in sys.argv: tick("agent")
for name in ("orphan", "tool", "left"):
    while not os.path.exists(name): time.sleep(0.01)
"""
TICKING = ("agent", "orphan", "tool", "left")


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with on_stage(tmp_path) as made:
        yield made


def members(stage: Stage) -> set[int]:
    """Every process of the task, by its mark."""
    mark = f"MAKIMA_TASK_ID={stage.task}".encode()
    found = set()
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and mark in (entry / "environ").read_bytes():
                found.add(int(entry.name))
        except OSError:
            continue
    return found


def ticks(stage: Stage) -> list[str]:
    return [(stage.base / name).read_text() for name in TICKING]


async def until_all_tick(stage: Stage, since: list[str] | None = None) -> None:
    async for _ in attempts(SystemClock(), deadline_s=SOON_S, most_s=0.05):
        if all((stage.base / name).exists() for name in TICKING):
            now = ticks(stage)
            if since is None or all(map(str.__ne__, now, since)):
                return
    raise AssertionError("somebody does not tick")


async def none_is_left(stage: Stage) -> bool:
    async for _ in attempts(SystemClock(), deadline_s=SOON_S, most_s=0.05):
        if not members(stage):
            return True
    return False


async def test_a_pause_is_for_all_of_them_and_so_is_the_end_of_it(stage: Stage) -> None:
    agent = stage.agent()
    await agent.start(stage.launch(FAMILY, "wait"))
    await until_all_tick(stage)
    await agent.signal(AgentSignal.PAUSE)
    await agent.signal(AgentSignal.PAUSE)
    still = ticks(stage)
    async for _ in attempts(SystemClock(), deadline_s=0.3):
        assert ticks(stage) == still
    await agent.signal(AgentSignal.RESUME)
    await until_all_tick(stage, since=still)
    await agent.signal(AgentSignal.KILL)
    assert members(stage) == set()
    lines, last = await read_all(agent)
    assert (len(lines), last.exit_status) == (1, 128 + signal.SIGKILL)
    await agent.signal(AgentSignal.KILL)
    await agent.aclose()


async def test_whoever_stands_still_is_ended_all_the_same(stage: Stage) -> None:
    agent = stage.agent()
    await agent.start(stage.launch(FAMILY, "wait"))
    await until_all_tick(stage)
    await agent.signal(AgentSignal.PAUSE)
    await agent.signal(AgentSignal.TERMINATE)
    _, last = await read_all(agent)
    assert last.exit_status == 128 + signal.SIGTERM
    assert await none_is_left(stage), "one of them ignores it"
    await agent.aclose()


async def test_an_interrupt_is_for_the_agent_alone(stage: Stage) -> None:
    agent = stage.agent()
    code = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
try:
    print("ready")
    time.sleep(60)
except KeyboardInterrupt:
    print("interrupted", child.poll())
"""
    await agent.start(stage.launch(code))
    output = await agent.read(Position())
    await agent.signal(AgentSignal.INTERRUPT)
    lines, last = await read_all(agent, output.position)
    assert ([line.text for line in lines], last.exit_status) == (["interrupted None"], 0)
    assert await none_is_left(stage)
    await agent.aclose()


async def test_what_an_agent_leaves_behind_ends_with_it(stage: Stage) -> None:
    agent = stage.agent()
    await agent.start(stage.launch(FAMILY))
    lines, last = await read_all(agent)
    assert (len(lines), last.exit_status) == (1, 0)
    assert members(stage) == set()
    await agent.aclose()


async def test_a_holder_that_is_killed_leaves_an_agent_that_can_be_found(stage: Stage) -> None:
    agent = stage.agent()
    await agent.start(stage.launch(FAMILY, "wait"))
    await until_all_tick(stage)
    os.kill(stage.holder(), signal.SIGKILL)
    assert await agent.state() == AgentState(started=True, alive=True)
    await agent.signal(AgentSignal.PAUSE)
    still = ticks(stage)
    async for _ in attempts(SystemClock(), deadline_s=0.2):
        assert ticks(stage) == still
    await agent.signal(AgentSignal.KILL)
    assert members(stage) == set()
    lines, last = await read_all(agent)
    assert (len(lines), last.exit_status) == (1, None)
    assert await agent.state() == AgentState(started=True, alive=False)
    await agent.aclose()


@pytest.mark.parametrize("after_s", [0.0, 0.004, 0.008, 0.012, 0.016, 0.024])
async def test_who_is_killed_while_it_starts_an_agent_leaves_one_that_hears_and_is_held(
    stage: Stage, after_s: float
) -> None:
    agent = stage.agent()
    starting = spawn(agent.start(stage.launch("print(input())", first=b"hello\n")), name="start")
    await until((stage.place / "lock").exists, deadline_s=SOON_S)
    await SystemClock().sleep(after_s)
    for pid in stage.conversations():
        os.kill(pid, signal.SIGKILL)
    await starting
    lines, last = await read_all(agent)
    assert ([line.text for line in lines], last.exit_status) == (["hello"], 0)
    await agent.aclose()


async def test_a_start_that_fails_after_who_asked_was_killed_fails_again(stage: Stage) -> None:
    agent = stage.agent()
    launch = replace(stage.launch(""), argv=["/gone/claude"])
    starting = spawn(agent.start(launch), name="start")
    lock = stage.place / "lock"  # it is there for a moment only
    await until(lambda: lock.exists() or starting.done(), deadline_s=SOON_S)
    for pid in stage.conversations():
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(AgentMissingError):
        await starting
    assert not stage.place.exists()
    await agent.aclose()


async def test_what_is_left_without_holder_and_agent_is_ended_by_who_looks(stage: Stage) -> None:
    agent = stage.agent()
    await agent.start(stage.launch(FAMILY, "wait"))
    await until_all_tick(stage)
    (pid,) = [
        int(line) for line in (stage.place / "agent").read_text().split("[")[1].split(",")[:1]
    ]
    os.kill(stage.holder(), signal.SIGKILL)
    os.kill(pid, signal.SIGKILL)
    assert not await lives(pid)
    assert (await read_all(agent))[1].exit_status is None
    assert members(stage) == set()
    await agent.aclose()


async def test_an_agent_that_nobody_reads_is_held_up_and_goes_on_when_it_is_read(
    stage: Stage,
) -> None:
    agent = stage.agent()
    code = """
import os, time
for i in range(250):
    os.write(1, b"x" * 999_999 + b"\\n")
    time.sleep(0.01)
"""
    await agent.start(stage.launch(code))
    async for _ in attempts(SystemClock(), deadline_s=SOON_S, most_s=0.05):
        if (stage.place / "full").exists():
            break
    before = (stage.place / "stdout").stat().st_size
    assert MOST_UNREAD < before < 250_000_000
    async for _ in attempts(SystemClock(), deadline_s=0.3):
        assert (stage.place / "stdout").stat().st_size == before
    lines, last = await read_all(agent)
    assert sum(not line.partial for line in lines) == 250
    assert last.position == Position(stdout=250_000_000)
    assert (stage.place / "stdout").stat().st_blocks * 512 < MOST_UNREAD // 2, "read and kept"
    await agent.aclose()


async def test_a_lot_is_said_to_an_agent_that_is_slow_to_listen(stage: Stage) -> None:
    agent = stage.agent()
    code = "import sys, hashlib; print(input()); print(len(sys.stdin.read()))"
    await agent.start(stage.launch(code))
    data = b"x" * 1_000_000 + b"\n"
    for number in range(5):
        await agent.send(data, key=str(number))
    await agent.close_input()
    lines, _ = await read_all(agent)
    assert lines[-1].text == str(4 * len(data))
    await agent.aclose()
