from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tachikoma.host.clock import SystemClock
from tachikoma.makima.record import Position
from tachikoma.makima.tasks.port import Line
from tests.unit.makima.tasks.stage import Stage, lives, on_stage, read_all

pytestmark = [pytest.mark.live, pytest.mark.timeout(60)]


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with on_stage(tmp_path) as made:
        yield made


async def test_a_line_is_there_as_soon_as_it_is_printed(stage: Stage) -> None:
    agent = stage.agent()
    await agent.start(stage.launch("for line in iter(input, ''): print(line)", first=b"0\n"))
    position, took = (await agent.read(Position())).position, []
    for number in range(1, 21):
        began = SystemClock().monotonic()
        await agent.send(b"%d\n" % number, key=str(number))
        output = await agent.read(position)
        took.append(SystemClock().monotonic() - began)
        assert output.lines == (Line(str(number)),)
        position = output.position
    assert sorted(took)[len(took) // 2] < 0.05
    await agent.aclose()


async def test_an_entry_that_was_torn_is_cut_off_and_said_again(stage: Stage) -> None:
    agent = stage.agent()
    await agent.start(stage.launch("import sys; print(sys.stdin.read(), end='')", first=b"one\n"))
    with (stage.place / "input").open("ab") as file:
        file.write(b'{"key": "sent a", "size": 4}\ntw')
    await agent.send(b"two\n", key="a")
    await agent.close_input()
    assert (await read_all(agent))[0] == [Line("one"), Line("two")]
    await agent.aclose()


async def test_nothing_is_nobody_elses_to_read(stage: Stage) -> None:
    agent = stage.agent()
    await agent.start(stage.launch("import os; print(oct(os.umask(0o22)))", first=b"secret\n"))
    lines, _ = await read_all(agent)
    assert stage.place.stat().st_mode & 0o777 == 0o700
    assert {each.stat().st_mode & 0o077 for each in stage.place.iterdir()} == {0}
    mask = os.umask(0o022)
    os.umask(mask)
    assert lines == [Line(oct(mask))]
    await agent.aclose()


async def test_what_was_freed_cannot_be_read_again(stage: Stage) -> None:
    agent = stage.agent()
    await agent.start(stage.launch("for i in range(40): print('x' * (1 << 20))"))
    await read_all(agent)
    with pytest.raises(RuntimeError, match="byte 0 of its stdout is gone"):
        await agent.read(Position())
    await agent.aclose()


async def test_a_conversation_ends_with_its_other_side_and_the_agent_goes_on(
    stage: Stage,
) -> None:
    agent = stage.agent()
    await agent.start(stage.launch("import time; print('ready'); time.sleep(60)"))
    await agent.read(Position())
    (conversation,), holder = stage.conversations(), stage.holder()
    await agent.aclose()
    assert not await lives(conversation)
    assert await lives(holder)
    assert (await agent.state()).alive
    await agent.discard()
    assert not await lives(holder)
    assert list(stage.root.iterdir()) == []
    await agent.aclose()


async def test_a_discarded_agent_is_killed_and_forgotten(stage: Stage) -> None:
    agent = stage.agent()
    code = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(os.getpid())
time.sleep(60)
"""
    await agent.start(stage.launch(code))
    (line,) = (await agent.read(Position())).lines
    await agent.discard()
    await agent.discard()
    assert not await lives(int(line.text))
    assert not (await agent.state()).started
    await agent.aclose()


async def test_the_python_of_the_system_will_do(tmp_path: Path) -> None:
    """It is another one than ours, and as old as the system is."""
    async with on_stage(tmp_path, python="/usr/bin/python3") as stage:
        agent = stage.agent()
        await agent.start(stage.launch("print(input())", first=b"one\n"))
        assert (await read_all(agent))[0] == [Line("one")]
        assert not (await agent.state()).alive
        await agent.aclose()
