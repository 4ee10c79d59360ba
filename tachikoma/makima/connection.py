"""One connection to the server, from its first frame to its last."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from typing import assert_never
from uuid import UUID

import aiohttp

from tachikoma.host.clock import Clock, attempts
from tachikoma.makima.book import Book
from tachikoma.makima.commands import Command
from tachikoma.makima.session import (
    Drop,
    Effects,
    HangUp,
    LetFlow,
    Perform,
    Reconnect,
    Send,
    Session,
    Stop,
    Tell,
)
from tachikoma.makima.window import Window
from tachikoma.makima.wire import encode, numbered
from tachikoma.model.errors import DiskFullError

AUTHENTICATE_S = 20.0
FLUSH_S = 5.0
CLOSE_S = 2.0
BATCH_BYTES = 256 * 1024
BATCHES = 4
"""So many batches are on their way unanswered: what is sent twice if the connection breaks."""
_SILENT_BEATS = 1.75
"""After a ping each beat an answer is due within one; who is silent for longer is gone."""
_LOOKS_EACH_BEAT = 8
_FULL_DISK_S = 5.0
_SETTLE_S = 0.05

LEVELS = {name: getattr(logging, name.upper()) for name in ("debug", "info", "warning", "error")}
_log = logging.getLogger(__name__)


class Connection:
    """Runs ``session`` over an open WebSocket.

    What the outbox holds is sent in batches, each with a ping behind it, and forgotten when that is
    answered. ``take`` gets the commands; while it waits, nothing is read.
    """

    def __init__(  # noqa: PLR0913 - what meets in a connection
        self,
        *,
        channel: aiohttp.ClientWebSocketResponse[bool],
        session: Session,
        book: Book,
        clock: Clock,
        beat_s: float,
        active: Callable[[], Sequence[UUID]],
        take: Callable[[Command], Awaitable[None]],
    ) -> None:
        self._channel = channel
        self._session = session
        self._book = book
        self._clock = clock
        self._beat_s = beat_s
        self._active = active
        self._take = take
        self._window = Window(most=BATCHES)
        self._sent = 0
        self._settled = 0
        self._answered = asyncio.Event()
        self._acknowledged = asyncio.Event()
        self._heard_at = clock.monotonic()
        self._taking = False
        self._rested_at = -1
        self._leaving = False
        self._reason = ""
        self._after: Effects | None = None
        self._group: asyncio.TaskGroup | None = None
        self._helpers: list[asyncio.Task[None]] = []
        self._over = asyncio.Event()

    async def run(self) -> Effects:
        """Stay while it lasts; give what is to be done then.

        Raises:
            ExceptionGroup: of what a helper failed with, a BookError for example.
        """
        try:
            async with asyncio.TaskGroup() as self._group:
                for helper in (self._beat(), self._watch(), self._settle(), self._hasten()):
                    self._help(helper)
                try:
                    await self._listen()
                finally:
                    for each in self._helpers:
                        each.cancel()
            if self._after is None:
                self._after = () if self._leaving else self._session.lost(self._reason)
            return self._after
        finally:
            self._cut()
            await self._close()  # gives back what aiohttp holds, whatever way it ended
            self._over.set()

    async def leave(self) -> None:
        """Say what is left to be said, for a while at most, then close."""
        self._leaving = True
        async for _ in attempts(self._clock, deadline_s=FLUSH_S, first_s=0.005, most_s=0.1):
            if self._over.is_set() or self._at_rest:
                break
        await self._close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), CLOSE_S)

    @property
    def _at_rest(self) -> bool:
        """Whether there is nothing more to be said, and all that was is known to have come."""
        return (
            self._rested_at == self._book.said
            and self._window.empty
            and self._settled == self._window.delivered
        )

    async def _listen(self) -> None:
        with contextlib.suppress(ConnectionError):
            await self._act(self._session.opened())
        while self._after is None:
            message = await self._channel.receive()
            self._heard_at = self._clock.monotonic()
            match message.type:
                case aiohttp.WSMsgType.TEXT | aiohttp.WSMsgType.BINARY:
                    if not self._leaving:
                        await self._act(self._session.received(_read(message.type, message.data)))
                case aiohttp.WSMsgType.PING:
                    with contextlib.suppress(ConnectionError):
                        await self._channel.pong(message.data)
                case aiohttp.WSMsgType.PONG:
                    self._window.pong(message.data)
                    self._answered.set()
                    self._acknowledged.set()
                case _:
                    self._reason = self._reason or self._said_at_the_end(
                        message.type, message.extra
                    )
                    return

    def _said_at_the_end(self, kind: aiohttp.WSMsgType, extra: object) -> str:
        if kind is aiohttp.WSMsgType.ERROR:
            return f"broken: {self._channel.exception()}"
        code = self._channel.close_code
        if code in {None, aiohttp.WSCloseCode.ABNORMAL_CLOSURE}:
            return "it broke off"
        words = str(extra or "").strip()
        return f"the server closed it with {code}" + (f", {words[:120]!r}" if words else "")

    async def _act(self, effects: Effects) -> None:
        for effect in effects:
            match effect:
                case Send(message):
                    await self._channel.send_str(encode(message))
                case LetFlow(heard):
                    self._help(self._flow(heard))
                case Perform(command):
                    async with self._held():
                        await self._take(command)
                case Drop(reason, count):
                    _log.warning("a frame was dropped, number %d: %s", count, reason)
                case Tell(level, text):
                    _log.log(LEVELS[level], "%s", text)
                case HangUp(reason):
                    self._reason = reason
                    await self._close()
                case Stop() | Reconnect():
                    self._after = effects
                    await self._close()
                case _:
                    assert_never(effect)

    @contextlib.asynccontextmanager
    async def _held(self) -> AsyncIterator[None]:
        """Nobody is called silent while we do not listen."""
        self._taking = True
        try:
            yield
        finally:
            self._taking = False
            self._heard_at = self._clock.monotonic()

    async def _flow(self, heard: int | None) -> None:
        """Send what the outbox holds and will hold."""
        if heard is not None and heard > self._book.said:
            _log.warning(
                "the server has message %d of this machine, and %d is the last there was: "
                "its numbers are passed over",
                heard,
                self._book.said,
            )
            heard = None
        if heard is not None:
            self._sent = heard
            await self._ping()
        while True:
            while self._window.full:
                self._answered.clear()
                await self._answered.wait()
            said = self._book.said
            batch = await self._book.waiting(self._sent, most_bytes=BATCH_BYTES)
            if not batch:
                self._rested_at = said
                await self._book.more(said)
                continue
            for each in batch:
                await self._channel.send_str(
                    each.text if heard is None else numbered(each.text, each.seq)
                )
            self._sent = batch[-1].seq
            await self._ping()

    async def _settle(self) -> None:
        """Forget what has been answered."""
        full = False
        while True:
            await self._acknowledged.wait()
            self._acknowledged.clear()
            delivered = self._window.delivered
            if delivered == self._settled:
                continue
            try:
                await self._book.delivered(delivered)
            except DiskFullError as error:
                if not full:
                    _log.warning("%s; %s", error.message, error.hint)
                full = True
                await self._clock.sleep(_FULL_DISK_S)
                self._acknowledged.set()
            else:
                self._settled = delivered
                full = False
            # A turn of the disk each so many answers, not each.
            await self._clock.sleep(_SETTLE_S)

    async def _beat(self) -> None:
        while True:
            await self._ping()
            await self._clock.sleep(self._beat_s)
            await self._act(self._session.heartbeat_due(self._active()))

    async def _watch(self) -> None:
        """End a connection on which nothing comes any more, not even an answer to a ping."""
        while True:
            await self._clock.sleep(self._beat_s / _LOOKS_EACH_BEAT)
            silent = self._clock.monotonic() - self._heard_at
            if silent > self._beat_s * _SILENT_BEATS and not self._taking:
                self._reason = f"nothing was heard for {silent:.0f} s"
                self._cut()
                return

    async def _hasten(self) -> None:
        await self._clock.sleep(AUTHENTICATE_S)
        await self._act(self._session.overdue(AUTHENTICATE_S))

    async def _ping(self) -> None:
        await self._channel.ping(self._window.ping(self._sent))

    def _help(self, work: Coroutine[None, None, None]) -> None:
        assert self._group is not None
        self._helpers.append(self._group.create_task(_while_connected(work)))

    async def _close(self) -> None:
        """Close in good order if that is quick, else at once."""
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._channel.close()
        except TimeoutError:
            self._cut()

    def _cut(self) -> None:
        """Close at once, whatever is still in buffers: `close` would wait for a peer that reads."""
        transport = self._channel.get_extra_info("socket")
        if transport is None or transport.fileno() < 0:
            return
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(transport.fileno())) as own:
            own.shutdown(socket.SHUT_RDWR)


async def _while_connected(work: Coroutine[None, None, None]) -> None:
    """A write that fails is told by what the listener hears."""
    with contextlib.suppress(ConnectionError):
        await work


def _read(kind: aiohttp.WSMsgType, data: bytes) -> str | bytes:
    if kind is aiohttp.WSMsgType.BINARY:
        return data
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data
