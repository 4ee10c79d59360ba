"""One TCP connection with backpressure both ways: the only place that touches transports.

What arrives is either gathered, until somebody asks for it, or handed to a sink as it comes. The
second way costs a function call for each piece, not a task switch: with a thousand streams of
events through one process, that is what decides.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from tachikoma.proxy.http1 import end_of_head

_MOST_GATHERED = 256 << 10
_WRITE_AHEAD = 256 << 10
"""Bytes that the other side has not taken yet, after which we stop reading its answer."""

Sink = Callable[[bytes], None]
Ended = Callable[[BaseException | None], None]


class GoneError(ConnectionError):
    """The other side closed the connection, or it broke."""


def _ignore(_error: BaseException | None) -> None:
    pass


class Wire(asyncio.Protocol):
    """A connection. ``active`` is the loop's time of the last bytes that came, ``stuck`` the time
    since which the other side takes nothing (None: it takes).

    ``on_lost`` is called once when the connection is gone, whoever ended it.
    """

    def __init__(self, on_made: Callable[[Wire], None] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_made = on_made
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._seen = 0
        self._waiter: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._sink: Sink | None = None
        self._on_end: Ended = _ignore
        self._partner: Wire | None = None
        self._reading = True
        self.half_open = False
        self.on_lost: Ended = _ignore
        self.lost = False
        self.eof = False
        self.active = self._loop.time()
        self.stuck: float | None = None

    # What the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        # no isinstance: uvloop's transports do not say what they are
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=_WRITE_AHEAD)
        if self._on_made is not None:
            on_made, self._on_made = self._on_made, None
            on_made(self)

    def data_received(self, data: bytes) -> None:
        """Hand on or gather."""
        self.active = self._loop.time()
        if self._sink is not None:
            self._sink(data)
            return
        self._buffer += data
        if len(self._buffer) > _MOST_GATHERED:
            self.pause()
        self._wake()

    def eof_received(self) -> bool:
        """Tell that nothing more comes; a half-open connection may still be written to."""
        self._end(None)
        return self.half_open

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell everybody who waits."""
        self.lost = True
        self._end(exc)
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        if self._partner is not None:
            self._partner.resume()
        on_lost, self.on_lost = self.on_lost, _ignore
        on_lost(exc)

    def pause_writing(self) -> None:
        """Stop reading what would be written here."""
        self.stuck = self._loop.time()
        if self._partner is not None:
            self._partner.pause()

    def resume_writing(self) -> None:
        """Go on."""
        self.stuck = None
        if self._partner is not None:
            self._partner.resume()
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    # Reading

    @property
    def waiting(self) -> bool:
        """Whether bytes are there that nobody has asked for."""
        return bool(self._buffer)

    async def head(self) -> bytes | None:
        """Give the next head with its empty line; None if the other side ended before it.

        Raises:
            Malformed: it is too large, or its lines end wrongly.
            GoneError: the connection ended within it.
        """
        while not (end := end_of_head(self._buffer, seen=self._seen)):
            self._seen = len(self._buffer)
            if self.eof or self.lost:
                if self._buffer:
                    raise GoneError("the connection ended within a head")
                return None
            await self._more()
        self._seen = 0
        head = bytes(self._buffer[:end])
        del self._buffer[:end]
        return head

    async def some(self) -> bytes:
        """Give what has come, at least one byte of it.

        Raises:
            GoneError: nothing more will come.
        """
        while not self._buffer:
            if self.eof or self.lost:
                raise GoneError("the connection ended")
            await self._more()
        return self.taken()

    def taken(self) -> bytes:
        """Give what has come so far, and maybe nothing."""
        data = bytes(self._buffer)
        self._buffer.clear()
        self._seen = 0
        self.resume()
        return data

    def put_back(self, data: bytes) -> None:
        """Have ``data`` come first again."""
        if data:
            self._buffer[:0] = data

    def pour(self, sink: Sink, ended: Ended) -> None:
        """Hand what has come and what will come to ``sink``; ``ended`` is told of the end.

        It may be told at once. An end without an error is one that the other side announced.
        """
        self._sink, self._on_end = sink, ended
        if self._buffer:
            data = bytes(self._buffer)
            self._buffer.clear()
            self._seen = 0
            sink(data)
        if not self._pours():
            return
        if self.eof or self.lost:
            self._sink = None
            ended(None if self.eof else GoneError("the connection ended"))
        else:
            self.resume()

    def _pours(self) -> bool:
        return self._sink is not None

    def gather(self) -> None:
        """Stop handing on."""
        self._sink, self._on_end = None, _ignore

    def feeds(self, other: Wire | None) -> None:
        """Read no faster than ``other`` takes what is written to it (None: at will again)."""
        if other is not None:
            other._partner = self  # noqa: SLF001 - another of our own kind
            if other.stuck is not None:
                self.pause()

    def fed_by_nobody(self) -> None:
        """Let go of the connection that was slowed down by this one."""
        self._partner = None

    def pause(self) -> None:
        """Read no more for now. Idempotent."""
        if self._reading and self._transport is not None and not self._transport.is_closing():
            self._reading = False
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read again. Idempotent."""
        if not self._reading and self._transport is not None:
            self._reading = True
            if not self._transport.is_closing():
                self._transport.resume_reading()

    # Writing

    def write(self, data: bytes) -> None:
        """Send ``data`` as soon as it can be sent; nothing happens on a lost connection."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    async def drained(self) -> None:
        """Wait until the other side takes more.

        Raises:
            GoneError: it is gone.
        """
        while self.stuck is not None and not self.lost:
            self._room = self._loop.create_future()
            try:
                await self._room
            finally:
                self._room = None
        if self.lost or self._transport is None or self._transport.is_closing():
            raise GoneError("the connection ended")

    def end_writing(self) -> None:
        """Say that nothing more comes from us."""
        if self._transport is not None and not self._transport.is_closing():
            if self._transport.can_write_eof():
                self._transport.write_eof()
            else:
                self._transport.close()

    def close(self) -> None:
        """End it, once what was written is sent."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """End it now."""
        if self._transport is not None:
            self._transport.abort()

    @property
    def transport(self) -> asyncio.Transport:
        """The transport, to be wrapped."""
        assert self._transport is not None
        return self._transport

    @property
    def usable(self) -> bool:
        """Whether it is open both ways."""
        open_ = self._transport is not None and not self._transport.is_closing()
        return open_ and not (self.eof or self.lost)

    def _end(self, error: BaseException | None) -> None:
        if self.eof:
            return
        if not self.lost:
            self.eof = True
        if self._sink is not None:
            ended, self._sink, self._on_end = self._on_end, None, _ignore
            ended(None if self.eof else error or GoneError("the connection ended"))
        self._wake()

    async def _more(self) -> None:
        self._waiter = self._loop.create_future()
        self.resume()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
