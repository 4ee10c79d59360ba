"""How agents end: by themselves, judged by what they said last, or step by step when told to."""

from __future__ import annotations

import asyncio
import contextlib
from uuid import uuid4

from tachikoma.makima.record import TaskStatus, Verdict
from tachikoma.makima.tasks.port import Agent, AgentSignal
from tachikoma.makima.tasks.stream import interrupt_request
from tachikoma.model.errors import TachikomaError

_EXIT_GRACE_S = 5.0
_SIGNAL_GRACE_S = 5.0
_LONGEST_WORDS = 1000


def judged(result: str | None, exit_status: int | None, last_words: str) -> Verdict:
    """Say how a task went whose agent has ended by itself.

    ``result`` is what its last turn complained of (None: no turn ended, "": nothing),
    ``last_words`` the last line that it printed on standard error.
    """
    how = f"exit status {exit_status}" if exit_status is not None else "nobody saw how"
    behind = f": {last_words[:_LONGEST_WORDS]}" if last_words else ""
    if result is None:
        return Verdict(
            TaskStatus.FAILED, f"Claude Code ended ({how}) before it finished a turn{behind}"
        )
    if result:
        return Verdict(TaskStatus.FAILED, result)
    if exit_status:
        return Verdict(TaskStatus.FAILED, f"Claude Code ended badly ({how}){behind}")
    return Verdict(TaskStatus.DONE)


def worded(error: TachikomaError) -> str:
    """Put an error in one line."""
    return f"{error.message} ({error.hint})" if error.hint else error.message


class Ladder:
    """Ends an agent. ``over`` is set by who reads its output, once there is no more.

    Gracefully: it is asked to stop its turn and no more input comes; then SIGINT, SIGTERM and
    SIGKILL, each after a pause. An agent that is held runs again first, else it could not hear.
    """

    def __init__(self, agent: Agent, *, over: asyncio.Event) -> None:
        self._agent = agent
        self._over = over

    async def down(self, *, graceful: bool) -> None:
        """Go all the way, or until it is over."""
        if graceful:
            with contextlib.suppress(TachikomaError):  # the next step needs none before it
                key = f"interrupt-{uuid4()}"
                await self._agent.signal(AgentSignal.RESUME)
                await self._agent.send(interrupt_request(key), key=key)
                await self._agent.close_input()
            if await self._ends_within(_EXIT_GRACE_S):
                return
            for signal in (AgentSignal.INTERRUPT, AgentSignal.TERMINATE):
                await self._try(signal)
                if await self._ends_within(_SIGNAL_GRACE_S):
                    return
        while not self._over.is_set():
            await self._try(AgentSignal.KILL)
            await self._ends_within(_SIGNAL_GRACE_S)

    async def _try(self, signal: AgentSignal) -> None:
        with contextlib.suppress(TachikomaError):
            await self._agent.signal(signal)

    async def _ends_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._over.wait()
        return self._over.is_set()
