"""Claude Code as a task's agent, on this host (in a VM: tests/soak/agent.py)."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from uuid import uuid4

import pytest

from tachikoma.host.clock import SystemClock, attempts
from tachikoma.makima.record import Workspace
from tachikoma.makima.tasks.host_place import HostPlace
from tachikoma.makima.tasks.port import AgentSignal
from tachikoma.makima.tasks.stream import (
    ControlAnswered,
    Event,
    Progress,
    SessionStarted,
    TurnEnded,
    interrupt_request,
)
from tachikoma.model.events import silent
from tests.live.claude import Heard, launch

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
