from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from tachikoma.host import tasks
from tachikoma.host.clock import FakeClock, SystemClock, attempts
from tachikoma.makima.record import Position
from tachikoma.makima.tasks.agent import STALE_S, HeldAgent
from tachikoma.makima.tasks.lines import LONGEST_PIECE
from tachikoma.makima.tasks.port import AgentSignal, AgentState, Line
from tachikoma.makima.tasks.visit import Way
from tachikoma.model.errors_fleet import (
    AgentClosedError,
    AgentMissingError,
    AgentUnreachableError,
    MakimaError,
    PlaceLostError,
    WorkspaceError,
)
from tests.unit.makima.tasks.stage import Stage, on_stage, read_all

pytestmark = [pytest.mark.live, pytest.mark.timeout(60)]

ECHO = """
import sys
for line in sys.stdin:
    print("heard", line, end="")
print("no more", file=sys.stderr)
sys.exit(3)
"""


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with on_stage(tmp_path) as made:
        yield made


async def test_it_is_started_once_told_things_and_heard(stage: Stage) -> None:
    agent = stage.agent()
    assert await agent.state() == AgentState(started=False, alive=False)
    launch = stage.launch(ECHO, first=b"one\n")
    await agent.start(launch)
    await agent.start(launch)
    assert await agent.state() == AgentState(started=True, alive=True)
    output = await agent.read(Position())
    assert (output.lines, output.position) == ((Line("heard one"),), Position(stdout=10))
    await agent.send(b"two\n", key="a")
    await agent.send(b"two\n", key="a")
    await agent.send(b"three\n", key="b")
    await agent.send(b"", key="c")
    await agent.close_input()
    await agent.close_input()
    lines, last = await read_all(agent, output.position)
    assert sorted(lines, key=lambda line: line.stderr) == [
        *(Line("heard two"), Line("heard three")),
        Line("no more", stderr=True),
    ]
    assert (last.position, last.exit_status) == (Position(stdout=32, stderr=8), 3)
    assert await agent.state() == AgentState(started=True, alive=False, exit_status=3)
    await agent.send(b"two\n", key="a")
    with pytest.raises(AgentClosedError):
        await agent.send(b"four\n", key="d")
    await agent.start(launch)
    assert await agent.read(last.position) == replace(last, lines=())
    await agent.aclose()


async def test_another_hand_on_it_goes_on_where_the_first_was(stage: Stage) -> None:
    first, second = stage.agent(), stage.agent()
    await asyncio.gather(*(each.start(stage.launch(ECHO)) for each in (first, second)))
    await first.send(b"one\n", key="a")
    output = await first.read(Position())
    await first.aclose()
    await second.send(b"one\n", key="a")
    await second.send(b"two\n", key="b")
    await second.close_input()
    lines, _ = await read_all(second, output.position)
    assert [line.text for line in lines if not line.stderr] == ["heard two"]
    await second.aclose()


async def test_what_cannot_be_started_says_so_and_can_be_started_later(stage: Stage) -> None:
    agent = stage.agent()
    nothing = replace(stage.launch(""), argv=["/no/claude"])
    with pytest.raises(AgentMissingError, match="/no/claude cannot be run here: No such file"):
        await agent.start(nothing)
    with pytest.raises(WorkspaceError, match="/no/where"):
        await agent.start(replace(stage.launch(""), directory=Path("/no/where")))
    with pytest.raises(MakimaError, match="null byte"):
        await agent.start(stage.launch("", env={"A": "\0"}))
    with pytest.raises(MakimaError, match="Argument list too long"):
        await agent.start(stage.launch("", "x" * 200_000))
    assert await agent.state() == AgentState(started=False, alive=False)
    await agent.signal(AgentSignal.KILL)
    with pytest.raises(PlaceLostError):
        await agent.read(Position())
    await agent.start(stage.launch("print(1)"))
    assert (await read_all(agent))[0] == [Line("1")]
    await agent.aclose()


async def test_its_environment_is_ours_with_what_the_launch_adds(stage: Stage) -> None:
    agent = stage.agent()
    code = "import os; print(os.environ['MINE'], os.environ['MAKIMA_TASK_ID'], os.getcwd())"
    await agent.start(stage.launch(code, env={"MINE": "x y"}))
    lines, _ = await read_all(agent)
    assert lines == [Line(f"x y {stage.task} {stage.base}")]
    await agent.aclose()


async def test_a_line_that_stays_unfinished_is_handed_on(stage: Stage) -> None:
    agent = stage.agent()
    code = (
        "import sys; sys.stdout.write('so far '); sys.stdin.read(); sys.stdout.write('good\\nend')"
    )
    await agent.start(stage.launch(code))
    began = SystemClock().monotonic()
    output = await agent.read(Position())
    assert output.lines == (Line("so far ", partial=True),)
    assert SystemClock().monotonic() - began >= STALE_S
    await agent.close_input()
    lines, last = await read_all(agent, output.position)
    assert lines == [Line("good"), Line("end")]
    assert last.position == Position(stdout=15)
    await agent.aclose()


async def test_any_bytes_and_any_length_come_through(stage: Stage) -> None:
    agent = stage.agent()
    code = """
import os, sys
os.write(1, b"\\xff\\x00\\n" + "ü".encode()[:1])
os.write(1, "ü".encode()[1:] + b"\\n")
os.write(2, b"x" * 3000000 + b"\\n\\n")
"""
    await agent.start(stage.launch(code))
    lines, last = await read_all(agent)
    assert [line for line in lines if not line.stderr] == [Line("\ufffd\0"), Line("ü")]
    long = [line for line in lines if line.stderr]
    assert "".join(line.text for line in long) == "x" * 3_000_000
    assert max(len(line.text) for line in long) == LONGEST_PIECE
    assert [line.partial for line in long[-3:]] == [True, False, False]
    assert last.position == Position(stdout=6, stderr=3_000_002)
    await agent.aclose()


async def test_nothing_is_lost_or_doubled_when_conversations_are_killed(stage: Stage) -> None:
    count = 300_000
    code = f"for i in range({count}): print(i, 'x' * 90)"
    agent, dice, kills = stage.agent(), random.Random(7), 0
    await agent.start(stage.launch(code))
    position, told = Position(), 0
    while True:
        if dice.random() < 0.2:
            for pid in stage.conversations():
                os.kill(pid, signal.SIGKILL)
                kills += 1
        output = await agent.read(position)
        for line in output.lines:
            assert line == Line(f"{told} {'x' * 90}")
            told += 1
        position = output.position
        if output.ended:
            break
    assert (told, kills > 3) == (count, True)
    await agent.aclose()


async def test_every_message_arrives_once_and_in_order_when_conversations_are_killed(
    stage: Stage,
) -> None:
    agent, dice, kills = stage.agent(), random.Random(7), 0
    await agent.start(stage.launch(ECHO))

    async def kill_some() -> None:
        nonlocal kills
        async for _ in attempts(SystemClock(), deadline_s=60, most_s=0.05):
            if dice.random() < 0.3:
                for pid in stage.conversations():
                    os.kill(pid, signal.SIGKILL)
                    kills += 1

    killing = tasks.spawn(kill_some(), name="kills")
    for number in range(200):
        await agent.send(b"%d\n" % number, key=str(number))
    await tasks.end(killing)
    await agent.close_input()
    lines, _ = await read_all(agent)
    heard = [line.text for line in lines if not line.stderr]
    assert heard == [f"heard {number}" for number in range(200)]
    assert kills > 0
    await agent.aclose()


async def test_a_conversation_that_hangs_is_made_anew(stage: Stage) -> None:
    agent = stage.agent(answer_s=0.5)
    await agent.start(stage.launch(ECHO, first=b"one\n"))
    (hangs,) = stage.conversations()
    os.kill(hangs, signal.SIGSTOP)
    output = await agent.read(Position())
    assert output.lines == (Line("heard one"),)
    assert hangs not in stage.conversations()
    await agent.aclose()


async def test_a_way_that_leads_nowhere_is_told_after_some_patience() -> None:
    async def nowhere() -> Way:
        return Way(["sh", "-c", "echo no such host >&2; exit 255"])

    agent = HeldAgent(way=nowhere, where="in the VM", clock=SystemClock(), patience_s=0.5)
    with pytest.raises(AgentUnreachableError, match="in the VM") as caught:
        await agent.state()
    assert caught.value.details == "no such host"


@pytest.mark.parametrize(
    "said",
    [
        "'no JSON'",
        "[]",
        """'{"id": 1, "sizes": [9999999, 0]}'""",
        """'{"id": 1, "sizes": 3}'""",
        "'x' * 3_000_000",
    ],
)
async def test_a_guest_that_talks_nonsense_is_not_listened_to(said: str) -> None:
    code = f"import sys; print('noise\\n@makima-holder 1'); print({said}); sys.stdin.read()"

    async def nonsense() -> Way:
        return Way([sys.executable, "-I", "-S", "-u", "-c", code])

    agent = HeldAgent(way=nonsense, where="there", clock=SystemClock(), patience_s=0.3)
    with pytest.raises(AgentUnreachableError) as caught:
        await agent.state()
    assert "no answer" in caught.value.details
    await agent.aclose()


async def test_a_place_that_is_gone_is_told_at_once() -> None:
    async def gone() -> Way:
        raise PlaceLostError("the VM was stopped", hint="start it")

    agent = HeldAgent(way=gone, where="there", clock=FakeClock())
    with pytest.raises(PlaceLostError):
        await agent.read(Position())
