"""Standard input and output as the transport: one message a line, nothing else on the wire.

Reading and writing block, so each has a thread; both are daemons, for a client that neither
speaks nor leaves must not keep the process from ending. Ours instead of the SDK's because that
one holds a line of any length and says nothing to a malformed one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import anyio
import mcp_types as types
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage

from tachikoma.host import tasks
from tachikoma.mcp import wire

_CHUNK = 1 << 16
_IN_FLIGHT = 16
_FAREWELL_S = 1.0
_log = logging.getLogger(__name__)

Incoming = MemoryObjectReceiveStream[SessionMessage | Exception]
Outgoing = MemoryObjectSendStream[SessionMessage]


@asynccontextmanager
async def streams(
    source: int, sink: int
) -> AsyncIterator[tuple[Incoming, Outgoing, Callable[[], object]]]:
    """Give what the SDK's server reads from and writes to, over two descriptors, and how to end
    the incoming stream at once.

    The incoming stream ends with the input, once what was asked last has been answered or had a
    moment for it; and when the output is gone. On leaving, what was handed over is written first,
    unless the client does not take it.
    """
    send_in, incoming = anyio.create_memory_object_stream[SessionMessage | Exception]()
    outgoing, receive_out = anyio.create_memory_object_stream[SessionMessage]()
    refusals = outgoing.clone()
    unanswered = _Unanswered()
    reading = tasks.spawn(_read(source, send_in, refusals, unanswered), name="mcp input")
    writing = tasks.spawn(_write(sink, receive_out, reading, unanswered), name="mcp output")
    try:
        yield incoming, outgoing, reading.cancel
    finally:
        await tasks.end(reading)
        outgoing.close()
        incoming.close()
        await asyncio.wait({writing}, timeout=_FAREWELL_S)
        await tasks.end(writing)


class _Unanswered:
    """The requests that wait for their answers."""

    def __init__(self) -> None:
        self._ids: set[str] = set()
        self._none = asyncio.Event()
        self._none.set()

    def asked(self, message: types.JSONRPCMessage) -> None:
        if isinstance(message, types.JSONRPCRequest):
            self._ids.add(str(message.id))
            self._none.clear()

    def answered(self, message: types.JSONRPCMessage) -> None:
        if isinstance(message, types.JSONRPCResponse | types.JSONRPCError):
            self._ids.discard(str(message.id))
            if not self._ids:
                self._none.set()

    async def none(self) -> None:
        """Wait for the last answer, but not for long: the client may have died."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FAREWELL_S):
                await self._none.wait()


async def _read(
    source: int,
    messages: MemoryObjectSendStream[SessionMessage | Exception],
    refusals: Outgoing,
    unanswered: _Unanswered,
) -> None:
    splitter = wire.Splitter()
    with messages, refusals, contextlib.suppress(anyio.BrokenResourceError):
        async for chunk in _chunks(source):
            for line in splitter.feed(chunk) if chunk else splitter.close():
                message = wire.decode(line)
                if isinstance(message, wire.Refusal):
                    await refusals.send(SessionMessage(message.answer))
                else:
                    unanswered.asked(message)
                    await messages.send(SessionMessage(message))
        await unanswered.none()


async def _chunks(source: int) -> AsyncIterator[bytes]:
    """Give what arrives as it arrives, and at last an empty chunk."""
    loop = asyncio.get_running_loop()
    arrived: asyncio.Queue[bytes] = asyncio.Queue()
    room = threading.Semaphore(_IN_FLIGHT)

    def read() -> None:
        data = b"-"
        while data:
            room.acquire()
            try:
                data = os.read(source, _CHUNK)
            except OSError:  # the terminal is gone, or the descriptor was closed
                data = b""
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(arrived.put_nowait, data)

    threading.Thread(target=read, name="mcp input", daemon=True).start()
    while True:
        chunk = await arrived.get()
        room.release()
        yield chunk
        if not chunk:
            return


async def _write(
    sink: int,
    messages: MemoryObjectReceiveStream[SessionMessage],
    reading: asyncio.Task[None],
    unanswered: _Unanswered,
) -> None:
    with messages:
        async for message in messages:
            text = message.message.model_dump_json(by_alias=True, exclude_unset=True)
            try:
                await _in_thread(partial(_write_all, sink, text.encode() + b"\n"))
            except OSError as gone:
                _log.info("the client takes no more: %s", gone)
                reading.cancel()
                return
            unanswered.answered(message.message)


def _write_all(sink: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(sink, view) :]


async def _in_thread(work: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def settle(error: OSError | None) -> None:
        if done.cancelled():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def act() -> None:
        failure: OSError | None = None
        try:
            work()
        except OSError as error:
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(settle, failure)

    threading.Thread(target=act, name="mcp output", daemon=True).start()
    await done
