from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest

from tachikoma.makima.record import Position
from tachikoma.makima.tasks.memory import MemoryAgent, answer
from tachikoma.makima.tasks.port import AgentSignal, Launch
from tachikoma.makima.tasks.stream import user_message
from tachikoma.model.errors_fleet import AgentClosedError, PlaceLostError

LAUNCH = Launch(
    argv=["claude"], directory=Path("/w"), env={}, first=user_message("hi", UUID(int=1))
)


async def test_an_agent_answers_what_it_is_told_and_ends_with_its_input() -> None:
    agent = MemoryAgent()
    await agent.start(LAUNCH)
    await agent.start(LAUNCH)
    output = await agent.read(Position())
    assert [line.text for line in output.lines] == answer("hi")
    assert not output.ended
    await agent.close_input()
    output = await agent.read(output.position)
    assert (output.lines, output.ended, output.exit_status) == ((), True, 0)
    with pytest.raises(AgentClosedError):
        await agent.send(user_message("more", UUID(int=2)), key="2")


async def test_a_message_is_taken_once() -> None:
    agent = MemoryAgent()
    for _ in range(2):
        await agent.send(user_message("more", UUID(int=2)), key="2")
    assert agent.told == ["more"]


async def test_one_that_is_held_says_nothing_and_one_that_is_lost_is_gone() -> None:
    agent = MemoryAgent()
    await agent.start(LAUNCH)
    await agent.signal(AgentSignal.PAUSE)
    assert (await agent.read(Position())).lines == ()
    await agent.signal(AgentSignal.RESUME)
    assert len((await agent.read(Position())).lines) == 3
    agent.lose()
    with pytest.raises(PlaceLostError):
        await agent.state()
