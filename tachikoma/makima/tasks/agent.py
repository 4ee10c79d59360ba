"""An agent that its holder keeps: reached by conversations, of which each may break."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from tachikoma.host.clock import Clock, attempts
from tachikoma.makima.record import Position
from tachikoma.makima.tasks.lines import Rest, lines_of
from tachikoma.makima.tasks.port import AgentSignal, AgentState, Launch, Line, Output
from tachikoma.makima.tasks.visit import MOST, Answer, BrokenError, Visit, Way, visiting
from tachikoma.model.errors_fleet import (
    AgentClosedError,
    AgentMissingError,
    AgentUnreachableError,
    MakimaError,
    PlaceLostError,
    WorkspaceError,
)

_log = logging.getLogger(__name__)

QUIET_S = 5.0
"""How long a read waits for output."""
STALE_S = 2.0
"""How long a line may stay unfinished before it is handed on as it is."""

_PATIENCE_S = 120.0
"""A VM whose host is busy takes long to let somebody in."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 3.0
_ANSWER_S = 20.0
"""How long an answer may take; a holder that is asked to kill takes half of it at most."""


@dataclass(slots=True)
class _Tail:
    """What was read of one output behind the position, and when that was."""

    data: bytes = b""
    grown: float = 0.0

    def lines(self, now: float, *, stderr: bool, ended: bool) -> tuple[list[Line], int]:
        """Take out the lines that can be handed on, and say how many bytes that were."""
        rest = Rest.STAYS
        if ended:
            rest = Rest.IS_LAST
        elif self.data and now - self.grown >= STALE_S:
            rest = Rest.IS_PARTIAL
        lines, taken = lines_of(self.data, rest=rest, stderr=stderr)
        self.data = self.data[taken:]
        if rest is Rest.IS_PARTIAL:
            self.grown = now  # a part of a character may be left, for which we wait again
        return lines, taken


class HeldAgent:
    """Implements the port ``Agent``.

    ``way`` finds the way to the holder, or raises PlaceLostError. ``fit`` makes a launch fit for
    where the agent is. ``where`` names that place in messages. A connection is made again for
    ``patience_s``; one on which an answer takes longer than ``answer_s`` counts as broken.

    One ``read`` at a time; nobody asks anything after ``aclose``.
    """

    def __init__(
        self,
        *,
        way: Callable[[], Awaitable[Way]],
        where: str,
        clock: Clock,
        fit: Callable[[Launch], Launch] = lambda launch: launch,
        patience_s: float = _PATIENCE_S,
        answer_s: float = _ANSWER_S,
    ) -> None:
        self._way = way
        self._where = where
        self._clock = clock
        self._fit = fit
        self._patience_s = patience_s
        self._answer_s = answer_s
        self._connecting = asyncio.Lock()
        self._visit: Visit | None = None
        self._scope = AsyncExitStack()
        self._position = Position()
        self._tails = (_Tail(), _Tail())

    async def state(self) -> AgentState:
        """Look at it."""
        answer = await self._ask({"do": "state"})
        return AgentState(
            started=answer.fields.get("started") is True,
            alive=answer.fields.get("alive") is True,
            exit_status=answer.status(),
        )

    async def start(self, launch: Launch) -> None:
        """Start it. Does nothing if it has been started before, even if it has ended.

        Raises:
            AgentMissingError: there is no such program at the place.
            WorkspaceError: the directory is not there.
        """
        fit = self._fit(launch)
        request = {
            "do": "start",
            "argv": list(fit.argv),
            "directory": str(fit.directory),
            "env": dict(fit.env),
        }
        await self._ask(request, fit.first)

    async def read(self, since: Position) -> Output:
        """Give what it printed after ``since``: as soon as there is something, nothing after some
        seconds of silence.

        What lies well before ``since`` may be forgotten there: positions never go back by more
        than a few MiB.
        """
        if since != self._position:
            self._position, self._tails = since, (_Tail(), _Tail())
        out, err = self._tails
        end = self._clock.monotonic() + QUIET_S
        while True:
            answer = await self._ask_for_output(since, end - self._clock.monotonic())
            now = self._clock.monotonic()
            for tail, piece in ((out, answer.stdout), (err, answer.stderr)):
                if piece:
                    tail.data, tail.grown = tail.data + piece, now
            ended = answer.fields.get("ended") is True
            lines, of_stdout = out.lines(now, stderr=False, ended=ended)
            more, of_stderr = err.lines(now, stderr=True, ended=ended)
            if lines or more or ended or now >= end:
                break
        self._position = Position(since.stdout + of_stdout, since.stderr + of_stderr)
        return Output((*lines, *more), self._position, ended=ended, exit_status=answer.status())

    async def send(self, lines: bytes, *, key: str) -> None:
        """Append whole lines to its standard input, once for each ``key``, in order.

        Raises:
            AgentClosedError: its input has been closed, or it has ended.
        """
        if lines:
            await self._ask({"do": "send", "key": f"sent {key}"}, lines)

    async def close_input(self) -> None:
        """End its standard input behind all that was sent. Idempotent."""
        await self._ask({"do": "close"})

    async def signal(self, signal: AgentSignal) -> None:
        """Do that to it and all its descendants. Idempotent; does nothing if it has ended or was
        never started.

        An interrupt is for the agent alone, which ends what it runs. Whoever stands still goes on
        to notice an interrupt or a request to end.
        """
        await self._ask({"do": "signal", "what": signal.value})

    async def discard(self) -> None:
        """Kill what is left of it, and forget all that it printed."""
        await self._ask({"do": "discard"})

    async def aclose(self) -> None:
        """Let go of the connection; the agent goes on."""
        async with self._connecting:
            await self._let_go()

    async def _ask_for_output(self, since: Position, wait_s: float) -> Answer:
        out, err = self._tails
        unfinished = [tail.grown for tail in self._tails if tail.data]
        if unfinished:
            wait_s = min(wait_s, min(unfinished) + STALE_S - self._clock.monotonic())
        request = {
            "do": "read",
            "stdout": since.stdout + len(out.data),
            "stderr": since.stderr + len(err.data),
            "taken": [since.stdout, since.stderr],
            "most": MOST,
            "wait": max(wait_s, 0.0),
        }
        return await self._ask(request)

    async def _ask(self, request: Mapping[str, Any], data: bytes = b"") -> Answer:
        """Ask the holder, over a new connection if the old one breaks: nothing that is asked
        twice is done twice.
        """
        why = ""
        answer_s = self._answer_s + float(request.get("wait", 0))
        tries = attempts(
            self._clock,
            deadline_s=self._patience_s,
            first_s=_FIRST_PAUSE_S,
            most_s=_LONGEST_PAUSE_S,
        )
        async for _ in tries:
            visit: Visit | None = None
            try:
                visit = await self._connected()
                async with asyncio.timeout(answer_s):
                    answer = await visit.ask(request, data)
            except BrokenError as error:
                why = str(error)
            except TimeoutError:
                why = f"nothing was answered within {answer_s:g} s"
                await self._drop(visit)
            else:
                if "error" in answer.fields:
                    raise self._refusal(request, answer.fields)
                return answer
            _log.info("the agent %s is reached anew: %s", self._where, why)
        raise AgentUnreachableError(
            f"the agent {self._where} cannot be reached",
            hint="what it did so far is in the worktree of its task",
            details=why,
        )

    async def _connected(self) -> Visit:
        async with self._connecting:
            if self._visit is None or self._visit.broken:
                await self._let_go()
                way = await self._way()
                self._visit = await self._scope.enter_async_context(visiting(way))
            return self._visit

    async def _drop(self, visit: Visit | None) -> None:
        async with self._connecting:
            if visit is self._visit:
                await self._let_go()

    async def _let_go(self) -> None:
        self._visit = None
        await self._scope.aclose()
        self._scope = AsyncExitStack()

    def _refusal(self, request: Mapping[str, Any], said: Mapping[str, Any]) -> Exception:
        """Give the error for what a holder does not do."""
        kind, text = said.get("error"), str(said.get("text"))
        if kind == "missing":
            return AgentMissingError(
                f"{request['argv'][0]} cannot be run {self._where}: {text}",
                hint="install Claude Code there, or set `claude_command` under [process]",
            )
        if kind == "directory":
            return WorkspaceError(
                f"the agent cannot begin in {request['directory']}: {text}",
                hint="the task's worktree was removed; start the task again",
            )
        if kind == "closed":
            return AgentClosedError(
                f"the agent {self._where} takes no more messages",
                hint="it has ended, or is told to end; start a task that continues from it",
            )
        if kind == "never":
            return PlaceLostError(
                f"nothing is known of the agent {self._where}",
                hint="what was kept of it was removed; start the task again",
            )
        if kind == "freed":
            return RuntimeError(f"an output is read again from too far back: {text}")
        return MakimaError(f"the agent {self._where}: {text}", hint="see whether its disk is full")
