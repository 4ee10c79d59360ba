"""Claude Code as a task's agent: on this host, and in a VM."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import uuid4

import pytest

from tachikoma.host.clock import SystemClock, attempts
from tachikoma.makima.record import Workspace
from tachikoma.makima.tasks.host_place import HostPlace
from tachikoma.makima.tasks.port import Agent, AgentSignal, AgentState, Launch
from tachikoma.makima.tasks.stream import (
    ControlAnswered,
    Event,
    Progress,
    SessionStarted,
    TurnEnded,
    interrupt_request,
)
from tachikoma.makima.tasks.vm_place import VmPlace
from tachikoma.model.errors_fleet import PlaceLostError
from tachikoma.model.events import silent
from tachikoma.model.vm import Endpoint
from tachikoma.runtime import Runtime
from tests.live.claude import Heard, launch
from tests.live.conftest import User

TICKS = "run: for i in $(seq 9000); do echo $i > ticks; sleep 0.02; done"


def runs_something(event: Event) -> bool:
    return isinstance(event, Progress) and event.summary.startswith("Bash")


async def counts(file: Path, *, past: str = "", deadline_s: float = 10) -> bool:
    """Tell whether somebody writes to ``file``."""
    async for _ in attempts(SystemClock(), deadline_s=deadline_s, most_s=0.05):
        if file.exists() and file.read_text() not in ("", past):
            return True
    return False


async def pauses_and_goes_on(heard: Heard, work: Path) -> None:
    """Have it count, hold it, and let it go on."""
    await heard.say(TICKS)
    await heard.until(runs_something)
    assert await counts(work / "ticks")
    await heard.agent.signal(AgentSignal.PAUSE)
    before = (work / "ticks").read_text()
    assert not await counts(work / "ticks", past=before, deadline_s=1)
    await heard.agent.signal(AgentSignal.RESUME)
    assert await counts(work / "ticks", past=before)


async def stops_when_asked(heard: Heard) -> None:
    """Break the present turn off, as a graceful interrupt begins."""
    await heard.agent.send(interrupt_request("i1"), key="i1")
    assert await heard.until(lambda event: isinstance(event, ControlAnswered)) == ControlAnswered(
        "i1", ""
    )
    ended = next((event for event in heard.events[-2:] if isinstance(event, TurnEnded)), None)
    assert (ended or await heard.turn()).subtype == "error_during_execution"
    # The scripted model takes what follows for the same exchange, in which a tool has failed.
    await heard.say("Very well")
    await heard.turn()


@pytest.fixture
def host_place(own_home: Path, live_api: tuple[str, str, Path], tmp_path: Path) -> HostPlace:
    url, secret, _ = live_api
    environ = dict(os.environ) | {
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": secret,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "IS_SANDBOX": "1",  # who runs the tests may be root
    }
    root = tmp_path / "agents"
    return HostPlace(root=root, environ=environ, home=own_home, clock=SystemClock())


@pytest.mark.live
@pytest.mark.timeout(90)
async def test_claude_code_works_on_this_host(
    host_place: HostPlace, claude_code: Path, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    task, workspace = uuid4(), Workspace(work, work, "main", "")
    assert await host_place.find(task, workspace) is None
    agent = await host_place.bring_up(task, workspace, silent)
    heard = Heard(agent)
    await agent.start(launch(str(claude_code), work, "run: echo one > file && cat file", {}))
    turn = await heard.turn()
    assert (turn.text, turn.is_error, (work / "file").read_text()) == ("one", False, "one\n")
    assert isinstance(heard.events[0], SessionStarted)
    assert Progress("Bash: echo one > file && cat file") in heard.events
    total = heard.account.total
    assert (total.turns, total.input_tokens > 0, total.cost_usd > 0) == (2, True, True)

    await pauses_and_goes_on(heard, work)
    await agent.aclose()
    again = await host_place.find(task, workspace)
    assert again is not None
    heard.agent = again
    await stops_when_asked(heard)
    await heard.say("run: echo three")
    assert (await heard.turn()).text == "three"
    await again.close_input()
    assert await heard.end() == 0
    assert heard.account.total.input_tokens > total.input_tokens
    await host_place.take_down(task, workspace)
    assert await host_place.find(task, workspace) is None
    await again.aclose()


@pytest.mark.live
@pytest.mark.timeout(60)
async def test_a_killed_claude_code_takes_its_tools_with_it_even_without_a_holder(
    host_place: HostPlace, claude_code: Path, tmp_path: Path
) -> None:
    task, workspace = uuid4(), Workspace(tmp_path, tmp_path, "main", "")
    agent = await host_place.bring_up(task, workspace, silent)
    heard = Heard(agent)
    await agent.start(launch(str(claude_code), tmp_path, TICKS, {}))
    await heard.until(runs_something)
    assert await counts(tmp_path / "ticks")
    about = json.loads((tmp_path / "agents" / str(task) / "agent").read_text())
    os.kill(about["holder"][0], signal.SIGKILL)
    await agent.signal(AgentSignal.KILL)
    assert await heard.end() is None
    before = (tmp_path / "ticks").read_text()
    assert not await counts(tmp_path / "ticks", past=before, deadline_s=0.5)
    await host_place.take_down(task, workspace)
    await agent.aclose()


async def a_task(user: User) -> Workspace:
    """Give what a task of the daemon works in: a worktree of a bare clone."""
    bare, worktree = user.home / "repos" / "app.git", user.home / "worktrees" / "task-0123abcd"
    branch = "makima/task-0123abcd"
    user.run_any("git", "clone", "-q", "--bare", str(user.repository()), str(bare))
    user.run_any("git", "-C", str(bare), "worktree", "add", "-q", "-b", branch, str(worktree))
    return Workspace(bare, worktree, branch, "")


async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Play the server's API."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.0 200 OK\r\n\r\nfrom the server")
    await writer.drain()
    writer.close()


def kill_the_conversation(worktree: Path) -> int:
    """Kill the ssh that the agent is heard by, and say how many there were."""
    found = [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit()
        and (entry / "cmdline").exists()
        and b".makima/agents" in (entry / "cmdline").read_bytes()
        and (entry / "cmdline").read_bytes().startswith(b"ssh\0")
        and str(worktree.parent.parent).encode() in (entry / "cmdline").read_bytes()
    ]
    for pid in found:
        os.kill(pid, signal.SIGKILL)
    return len(found)


@pytest.mark.live_qemu
async def test_claude_code_works_in_a_vm_whatever_happens_to_who_watches(live_user: User) -> None:
    user, workspace = live_user, await a_task(live_user)
    runtime = Runtime(environ=user.environ, cwd=user.home)
    await runtime.load_settings()
    place = VmPlace(vms=runtime.orchestrator, shell=runtime.shell, clock=SystemClock())
    task = uuid4()
    assert await place.find(task, workspace) is None
    server = await asyncio.start_server(answers, "127.0.0.1", 0)
    door = Endpoint("127.0.0.1", server.sockets[0].getsockname()[1])
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(server)
        agent = await place.bring_up(task, workspace, silent, door=door)
        stack.push_async_callback(agent.aclose)
        await works_and_is_killed(agent, user, workspace, place.api_url("https://server.example"))
        second = await place.bring_up(uuid4(), workspace, silent)
        stack.push_async_callback(second.aclose)
        await reads_to_the_end(second, workspace)
        await place.take_down(task, workspace)
        await place.take_down(task, workspace)
        with pytest.raises(PlaceLostError):
            await agent.state()
        assert await place.find(task, workspace) is None
        assert workspace.worktree.is_dir()


async def works_and_is_killed(agent: Agent, user: User, workspace: Workspace, api: str) -> None:
    """A whole life: work, a message in mid-run, lost connections, a pause, interrupts."""
    heard, work = Heard(agent), workspace.worktree
    fetch = f"python3 -c 'import urllib.request as u; print(u.urlopen(\"{api}\").read().decode())'"
    # What the host's environment has of credentials must stay on the host.
    env = {"ANTHROPIC_API_KEY": user.secret, "ANTHROPIC_BASE_URL": "http://127.0.0.1:9"}
    await agent.start(launch("/opt/host/claude", work, f"run: {fetch}; pwd", env))
    assert (await heard.turn()).text.split("\n") == ["from the server", str(work)]

    await heard.say("run: for i in $(seq 5); do echo $i >> slow; sleep 0.5; done; cat slow")
    await heard.until(runs_something)
    uuid = await heard.say("Make haste")
    assert kill_the_conversation(work) == 1
    assert (await heard.turn()).text.split("\n") == ["1", "2", "3", "4", "5"]
    started = f'"command_uuid":"{uuid}","state":"started"'
    assert any(started in line.text for line in heard.lines)

    await pauses_and_goes_on(heard, work)
    assert kill_the_conversation(work) == 1
    await stops_when_asked(heard)
    assert not any(user.secret in line.text for line in heard.lines)
    await is_killed(heard, user, workspace)


async def is_killed(heard: Heard, user: User, workspace: Workspace) -> None:
    """A hard interrupt: nothing of it is left in the VM."""
    await heard.say("run: sleep 300")
    await heard.until(runs_something)
    sleeping = ("exec", workspace.branch, "--", "sh", "-c", "grep -lsx sleep /proc/[0-9]*/comm")
    async for _ in attempts(SystemClock(), deadline_s=10):
        if user.run(*sleeping, cwd=workspace.worktree, status=None).status == 0:
            break
    await heard.agent.signal(AgentSignal.KILL)
    assert await heard.end() == 128 + signal.SIGKILL
    user.run(*sleeping, cwd=workspace.worktree, status=1)


async def reads_to_the_end(agent: Agent, workspace: Workspace) -> None:
    """Another task's agent in the same VM, which ends with its input."""
    heard = Heard(agent)
    code = "cat; pwd; umask; printf '%s' \"$MAKIMA_TASK_ID $TACHIKOMA\""
    await agent.start(Launch(["bash", "-c", code], workspace.worktree, {}, b"one\n"))
    await agent.send(b"two\n", key="2")
    await agent.close_input()
    assert await heard.end() == 0
    said = [line.text for line in heard.lines]
    assert said[:4] == ["one", "two", str(workspace.worktree), "0022"]
    assert said[4].endswith(" 1")
    assert await agent.state() == AgentState(started=True, alive=False, exit_status=0)
