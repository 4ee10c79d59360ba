from __future__ import annotations

import asyncio

import pytest

from tachikoma.host.tasks import spawn
from tachikoma.makima.record import TaskStatus, Verdict
from tachikoma.makima.tasks.ending import Ladder, judged, worded
from tachikoma.makima.tasks.memory import MemoryAgent
from tachikoma.makima.tasks.port import AgentSignal
from tachikoma.model.errors import TachikomaError
from tests.waiting import until


@pytest.mark.parametrize(
    ("result", "status", "words", "verdict"),
    [
        ("", 0, "a warning", Verdict(TaskStatus.DONE)),
        ("", None, "", Verdict(TaskStatus.DONE)),
        ("API Error: 500", 1, "", Verdict(TaskStatus.FAILED, "API Error: 500")),
        (
            None,
            0,
            "",
            Verdict(
                TaskStatus.FAILED, "Claude Code ended (exit status 0) before it finished a turn"
            ),
        ),
        (
            None,
            None,
            "",
            Verdict(
                TaskStatus.FAILED, "Claude Code ended (nobody saw how) before it finished a turn"
            ),
        ),
    ],
)
def test_an_end_is_judged_by_the_last_turn_and_the_exit_status(
    result: str | None, status: int | None, words: str, verdict: Verdict
) -> None:
    assert judged(result, status, words) == verdict


def test_an_error_in_one_line_has_its_hint_behind_it() -> None:
    assert worded(TachikomaError("it broke", hint="mend it")) == "it broke (mend it)"
    assert worded(TachikomaError("it broke")) == "it broke"


async def test_a_hard_end_is_a_kill_and_nothing_else() -> None:
    agent, over = MemoryAgent(), asyncio.Event()
    going = spawn(Ladder(agent, over=over).down(graceful=False), name="ladder")
    await until(lambda: bool(agent.signals))
    over.set()
    await going
    assert agent.signals == [AgentSignal.KILL]


async def test_an_agent_whose_place_is_lost_needs_no_ending() -> None:
    agent, over = MemoryAgent(), asyncio.Event()
    agent.lose()
    over.set()
    await Ladder(agent, over=over).down(graceful=True)
    assert agent.signals == []
