"""One conversation with the holder of an agent: requests out, answers in, several at once.

What comes from there is a guest's word: a frame of any other shape ends the conversation.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tachikoma.host import tasks
from tachikoma.host.conversing import Conversation, converse
from tachikoma.makima.tasks.program import holder_text

MOST = 1 << 20
"""Bytes of each output that are asked for at once."""

_GREETING = b"@makima-holder 1"
_GREETING_S = 60.0
_NOBODY = "nobody answers there"
_MOST_NOISE = 1 << 20
"""Bytes that a guest's profile may print before the greeting."""


class BrokenError(Exception):
    """The conversation is over; the agent may live all the same. The text says why."""


@dataclass(frozen=True, slots=True)
class Way:
    """How to get to where the agent is: the program that becomes the conversation."""

    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request got: some fields, and bytes of both outputs."""

    fields: Mapping[str, Any]
    stdout: bytes = field(default=b"", repr=False)
    stderr: bytes = field(default=b"", repr=False)

    def status(self) -> int | None:
        """Give the exit status in it, if there is one."""
        status = self.fields.get("status")
        return status if isinstance(status, int) else None


class Visit:
    """A conversation that has begun."""

    def __init__(self, talk: Conversation) -> None:
        self._talk = talk
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Answer]] = {}
        self._speaking = asyncio.Lock()
        self._why = ""

    @property
    def broken(self) -> bool:
        """Whether nothing more can be asked."""
        return bool(self._why)

    async def ask(self, request: Mapping[str, Any], data: bytes = b"") -> Answer:
        """Ask something, and wait for the answer.

        Raises:
            BrokenError: the conversation ended first.
        """
        if self._why:
            raise BrokenError(self._why)
        number = next(self._numbers)
        line = json.dumps({**request, "id": number, "size": len(data)}).encode("ascii") + b"\n"
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        try:
            async with self._speaking:
                self._talk.writer.write(line + data)
                await self._talk.writer.drain()
            return await answer
        except ConnectionError as error:
            raise BrokenError(await self._talk.last_words() or "it ended") from error
        finally:
            self._asked.pop(number, None)

    async def begin(self) -> None:
        """Hand over the program, and wait until it speaks.

        Raises:
            BrokenError: it does not come to that.
        """
        try:
            async with asyncio.timeout(_GREETING_S):
                self._talk.writer.write(holder_text())
                await self._talk.writer.drain()
                heard = 0
                while (line := await self._talk.reader.readline()).rstrip() != _GREETING:
                    heard += len(line)
                    if not line or heard > _MOST_NOISE:
                        raise BrokenError(await self._talk.last_words() or _NOBODY)
        except TimeoutError as error:
            raise BrokenError(f"nobody answered within {_GREETING_S:g} s") from error
        except ConnectionError as error:
            raise BrokenError(await self._talk.last_words() or _NOBODY) from error
        except ValueError as error:
            raise BrokenError(f"what comes from there is no answer: {error}") from error

    async def listen(self) -> None:
        """Hand out answers until the conversation ends; then nobody waits for one any more."""
        why = "it was let go"
        try:
            while True:
                self._hand_out(*await self._hear())
        except (ConnectionError, EOFError):
            why = await self._talk.last_words() or "the connection ended"
        except (ValueError, TypeError, KeyError, asyncio.LimitOverrunError) as error:
            why = f"what comes from there is no answer: {error}"
        finally:
            self._why = why
            for answer in self._asked.values():
                if not answer.done():
                    answer.set_exception(BrokenError(why))

    async def _hear(self) -> tuple[int, Answer]:
        reader = self._talk.reader
        fields = json.loads(await reader.readuntil(b"\n"))
        number, sizes = fields["id"], fields.get("sizes", (0, 0))
        if not all(isinstance(size, int) and 0 <= size <= MOST for size in sizes):
            raise ValueError("sizes out of bounds")
        stdout, stderr = [await reader.readexactly(size) for size in sizes]
        return number, Answer(fields, stdout, stderr)

    def _hand_out(self, number: int, answer: Answer) -> None:
        waiting = self._asked.get(number)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)


@contextlib.asynccontextmanager
async def visiting(way: Way) -> AsyncIterator[Visit]:
    """Go there and talk; the conversation ends with the block.

    Raises:
        BrokenError: nobody answers there.
        MissingToolError: there is no program to get there.
    """
    async with converse(way.argv, env=way.env) as talk:
        visit = Visit(talk)
        await visit.begin()
        listening = tasks.spawn(visit.listen(), name="answers of a holder")
        try:
            yield visit
        finally:
            await tasks.end(listening)
