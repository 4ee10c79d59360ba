"""One call of a tool: whom it tells of its progress, and whom it may ask."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar, assert_never

import anyio
import mcp_types as types
from mcp.server.context import ServerRequestContext

from tachikoma.host import tasks
from tachikoma.mcp.desk import Desk
from tachikoma.model.errors import NotConfirmedError
from tachikoma.model.events import Event, Notice, StepEnded, StepProgress, StepStarted

T = TypeVar("T")
Tell = Callable[[int, str], Awaitable[None]]
_QUESTION = "confirm"
_FORM: dict[str, Any] = {
    "type": "object",
    "properties": {
        "confirm": {"type": "boolean", "title": "Yes, do it", "default": False},
    },
    "required": ["confirm"],
}


class InputNeeded(Exception):
    """The client must ask its user first (protocol 2026-07-28)."""

    def __init__(self, result: types.InputRequiredResult) -> None:
        super().__init__("input needed")
        self.result = result


class Voice:
    """Turns events into words for the client, in their order and as fast as it takes them.

    What only moves (``StepProgress``) replaces what moved before it and was not sent yet.
    """

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._waiting: deque[tuple[bool, str]] = deque()
        self._more = asyncio.Event()
        self._told = 0
        self.notices: list[str] = []

    def report(self, event: Event) -> None:
        """Take an event of the heart."""
        match event:
            case StepStarted(_, text):
                self._say(text)
            case StepProgress(text, fraction):
                percent = "" if fraction is None else f" ({fraction:.0%})"
                self._say(f"{text}{percent}", moving=True)
            case StepEnded(name, seconds):
                self._say(f"{name}: done in {seconds:.1f} s")
            case Notice(text):
                self.notices.append(text)
                self._say(text)
            case _:
                assert_never(event)

    async def speak(self) -> None:
        """Send what is reported, until cancelled."""
        while True:
            await self._more.wait()
            self._more.clear()
            await self.flush()

    async def flush(self) -> None:
        """Send what has been reported so far."""
        while self._waiting:
            _, text = self._waiting.popleft()
            self._told += 1
            await self._tell(self._told, text)

    def _say(self, text: str, *, moving: bool = False) -> None:
        if moving and self._waiting and self._waiting[-1][0]:
            self._waiting.pop()
        self._waiting.append((moving, text))
        self._more.set()


@dataclass(frozen=True, slots=True)
class Call:
    """A tool at work."""

    desk: Desk
    context: ServerRequestContext[Any, Any]
    answers: types.InputResponses = field(default_factory=dict)
    voice: Voice = field(default_factory=lambda: Voice(_nobody))

    def report(self, event: Event) -> None:
        """Tell the client how far the work is."""
        self.voice.report(event)

    async def confirm(self, question: str, *, otherwise: str) -> None:
        """Have the user of the client agree to something; ``otherwise`` is what to do where
        nobody can be asked.

        Raises:
            NotConfirmedError: the user does not, or nobody can be asked.
            InputNeeded: the client must ask, and call again.
        """
        session = self.context.session
        offered = session.client_capabilities
        if offered is None or offered.elicitation is None:
            raise NotConfirmedError(
                f"{question} This client cannot ask its user.",
                hint=otherwise,
            )
        if session.can_send_request:
            answer = await session.elicit_form(question, _FORM, self.context.request_id)
        elif isinstance(given := self.answers.get(_QUESTION), types.ElicitResult):
            answer = given
        else:
            params = types.ElicitRequestFormParams(message=question, requested_schema=_FORM)
            request = types.ElicitRequest(params=params)
            raise InputNeeded(types.InputRequiredResult(input_requests={_QUESTION: request}))
        _check_agreed(answer, otherwise)


def _check_agreed(answer: types.ElicitResult, otherwise: str) -> None:
    """Raise NotConfirmedError unless the user has said yes. A no gives no advice how to get
    round it; no answer at all may mean that nobody is there.
    """
    if answer.action == "cancel":
        raise NotConfirmedError(
            "the question was dismissed without an answer; nothing was done", hint=otherwise
        )
    if answer.action == "decline" or (answer.content or {}).get("confirm") is not True:
        raise NotConfirmedError(
            "the user said no; nothing was done", hint="leave it as it is; the user decides"
        )


@asynccontextmanager
async def voiced(context: ServerRequestContext[Any, Any]) -> AsyncIterator[Voice]:
    """Give a voice that reaches the caller; what it has to say is said before this ends."""

    async def tell(count: int, text: str) -> None:
        await context.session.report_progress(count, message=text)

    voice = Voice(tell)
    speaking = tasks.spawn(voice.speak(), name="mcp progress")
    try:
        yield voice
        await voice.flush()
    finally:
        await tasks.end(speaking)


async def apart(work: Coroutine[Any, Any, T], *, name: str) -> T:
    """Run ``work`` in a task of its own; being cancelled cancels it once and waits for its end.

    The SDK cancels by anyio's rules: every ``await`` of a cancelled scope fails again and again,
    also those with which our code gives back what it holds. Here they work as asyncio has them.
    """
    task = tasks.spawn(work, name=name)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        with anyio.CancelScope(shield=True):
            await tasks.end(task)
        raise


async def _nobody(count: int, text: str) -> None:
    del count, text
