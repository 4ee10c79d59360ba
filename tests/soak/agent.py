"""Claude Code as a task's agent in a VM, whatever happens to who watches: `make soak`."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import uuid4

import pytest

from tachikoma.host.clock import SystemClock, attempts
from tachikoma.makima.record import Workspace
from tachikoma.makima.tasks.port import Agent, AgentSignal, AgentState, Launch
from tachikoma.makima.tasks.vm_place import VmPlace
from tachikoma.model.errors_fleet import PlaceLostError
from tachikoma.model.events import silent
from tachikoma.model.vm import Endpoint
from tachikoma.runtime import Runtime
from tests.live.claude import Heard, launch
from tests.live.conftest import User
from tests.live.test_makima_agent import pauses_and_goes_on, runs_something, stops_when_asked


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
