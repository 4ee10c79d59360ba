"""Questions to daemons, whose answers are frames that name a task and a type, and no question."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from typing import TypeVar
from uuid import UUID

from tachikoma.host.clock import Clock
from tachikoma.makima.messages import Message
from tachikoma.model.errors_fleet import RequestError

_LATE_S = 300.0
_M = TypeVar("_M")
_About = tuple[UUID, type]


class Questions:
    """One question at a time about each task and type of answer: the next answer is to that one.

    An answer that comes after its question was given up is passed over, if it comes within some
    minutes: else it would be taken for the answer to the next question.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._turns: defaultdict[_About, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._open: dict[_About, asyncio.Future[Message]] = {}
        self._late: defaultdict[_About, list[float]] = defaultdict(list)

    async def ask(
        self, task: UUID, answer: type[_M], say: Callable[[], None], *, deadline_s: float
    ) -> _M:
        """Put a question by ``say`` and give its answer.

        Raises:
            RequestError: none came in time.
        """
        about = (task, answer)
        try:
            async with asyncio.timeout(deadline_s), self._turns[about]:
                came = self._open[about] = asyncio.get_running_loop().create_future()
                try:
                    say()
                    found = await came
                finally:
                    del self._open[about]
                    if not came.done() or came.cancelled():
                        self._late[about].append(self._clock.monotonic() + _LATE_S)
        except TimeoutError:
            raise RequestError(
                f"the daemon did not answer within {deadline_s:.0f} s",
                status=504,
                reason="daemon_silent",
                hint="its log may tell why; then try again",
            ) from None
        assert isinstance(found, answer)
        return found

    def answered(self, message: Message) -> None:
        """Take what may be an answer."""
        task = getattr(message, "task_id", None)
        if task is None:
            return
        about = (task, type(message))
        late = self._late.get(about)
        if late:
            due = late.pop(0)
            if not late:
                del self._late[about]
            if due > self._clock.monotonic():
                return
        came = self._open.get(about)
        if came is not None and not came.done():
            came.set_result(message)
