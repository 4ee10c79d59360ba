"""The daemons' side of a server: lets them in by their key, one connection for each machine."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType, TracebackType
from typing import Protocol, Self, cast
from uuid import UUID
from weakref import WeakValueDictionary

import aiohttp
from aiohttp import web

from tachikoma.host import tasks
from tachikoma.host.clock import Clock
from tachikoma.makima.commands import Authenticated, Error
from tachikoma.makima.messages import Authenticate
from tachikoma.makima.patience import Patience
from tachikoma.makima.peer import (
    BROKEN,
    CLOSE_S,
    GOING_AWAY,
    LATER,
    REPLACED,
    UNAUTHORIZED,
    Limits,
    Listener,
    Peer,
)
from tachikoma.makima.wire import decode_message, encode
from tachikoma.model.errors import TachikomaError

LOOKS_EACH_S = 1.0
_LONGEST_NAME = 256
_RETRY_S = 5

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Welcome:
    """What a daemon is let in with: its id, and the number of the last message that was kept of its
    machine. Without the latter its messages have no numbers, and repeats are not known for such.
    """

    daemon_id: UUID
    last_seq: int | None


class Host(Listener, Protocol):
    """Whose daemons they are."""

    async def lets_in(self, said: Authenticate) -> bool:
        """Tell whether the key is right, in a time that does not depend on the keys there are."""
        ...

    async def welcome(self, said: Authenticate) -> Welcome:
        """Say how a daemon with the right key is let in. What an earlier connection of its machine
        said has all been taken by now.
        """
        ...

    async def arrived(self, peer: Peer) -> None:
        """Note a new connection, the only one of its machine. It may be told things by now."""
        ...

    async def left(self, peer: Peer) -> None:
        """Note that a connection is over (`Peer.reason`), and nothing more comes of it."""
        ...

    def turned_away(self, address: str, why: str) -> None:
        """Note that somebody was not let in."""
        ...


class Downstream:
    """Serves WebSockets of daemons (`serve` is an aiohttp handler) from beginning to end of its
    block.

    Of two connections of one machine the newer stays. Who brings a wrong key waits the longer for
    the answer the oftener that comes from his address. On stop nobody more is let in, each
    connection says what was to be said and is closed, and what daemons have said is taken.
    """

    def __init__(self, *, host: Host, clock: Clock, limits: Limits | None = None) -> None:
        self._host = host
        self._clock = clock
        self._limits = limits or Limits()
        self._patience = Patience()
        self._peers: dict[str, Peer] = {}
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._open: set[asyncio.Transport] = set()
        self._stopping = False
        self._looking: asyncio.Task[None] | None = None

    @property
    def peers(self) -> Mapping[str, Peer]:
        """The daemons that are connected, by machine."""
        return MappingProxyType(self._peers)

    async def __aenter__(self) -> Self:
        """Begin to look after the connections."""
        self._looking = tasks.spawn(self._look(), name="daemons' connections")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop as the class promises."""
        await self.close()

    async def close(self) -> None:
        """Stop as the class promises; does nothing the second time."""
        self._stopping = True
        if self._looking is not None:
            await tasks.end(self._looking)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._limits.closing_s):
                async with asyncio.TaskGroup() as group:
                    for peer in list(self._peers.values()):
                        group.create_task(_said_goodbye(peer), name=f"goodbye to {peer.id}")
        for transport in list(self._open):
            transport.abort()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Be the handler of the path on which daemons connect."""
        address = request.remote or ""
        refused = self._refused_at_once(request, address)
        if refused is not None:
            return refused
        channel = web.WebSocketResponse(
            timeout=CLOSE_S,
            autoping=False,
            compress=False,
            decode_text=False,
            # A frame beyond our own limit is answered; one twice as long ends the connection.
            max_msg_size=2 * self._limits.frame_bytes,
        )
        transport = cast("asyncio.Transport", request.transport)
        with _measured(transport, most=self._limits.first_frame_bytes) as measure:
            self._open.add(transport)
            try:
                await channel.prepare(request)
                with contextlib.suppress(ConnectionError):
                    await self._converse(channel, transport, measure, address)
            finally:
                self._open.discard(transport)
        return channel

    def _refused_at_once(self, request: web.Request, address: str) -> web.Response | None:
        if not web.WebSocketResponse().can_prepare(request).ok:
            return _refusal(426, "not_websocket", "daemons connect here by WebSocket")
        if self._stopping:
            return _refusal(503, "stopping", "this server is about to stop")
        if len(self._open) >= self._limits.connections:
            self._host.turned_away(address, "too many connections")
            return _refusal(503, "too_many_connections", "there are too many connections")
        if self._patience.is_at_an_end(address):
            self._host.turned_away(address, "too many wrong keys")
            return _refusal(429, "too_many_failures", "too many wrong keys came from there")
        return None

    async def _converse(
        self,
        channel: web.WebSocketResponse,
        transport: asyncio.Transport,
        measure: _Measure,
        address: str,
    ) -> None:
        said = await self._first(channel, address)
        if said is None:
            return
        try:
            if not await self._host.lets_in(said):
                await self._turn_away(channel, address)
                return
            measure.stop()
            peer = await self._let_in(said, channel, transport, address)
        except TachikomaError as error:
            _log.error("a daemon could not be let in: %s", error.message)
            await _told(channel, "unavailable", "this server has a fault; try again later", BROKEN)
            return
        if peer is not None:
            await self._stay(peer)

    async def _first(self, channel: web.WebSocketResponse, address: str) -> Authenticate | None:
        """Wait for the frame that says who it is."""
        within = self._limits.authenticate_s
        try:
            async with asyncio.timeout(within):
                message = await channel.receive()
        except TimeoutError:
            await self._not_let_in(
                channel, address, "timeout", f"`authenticate` did not come within {within:.0f} s"
            )
            return None
        if message.type is not aiohttp.WSMsgType.TEXT:
            if message.type is aiohttp.WSMsgType.BINARY:
                await self._not_let_in(channel, address, *_AUTHENTICATE_FIRST)
            else:
                self._host.turned_away(address, "it left before it said who it is")
            return None
        said = decode_message(message.data.decode("utf-8", "replace"))
        if not isinstance(said, Authenticate):
            await self._not_let_in(channel, address, *_AUTHENTICATE_FIRST)
            return None
        if not _is_name(said.machine_id) or not _is_name(said.hostname):
            await self._not_let_in(
                channel, address, "bad_message", "machineId and hostname: 1 to 256 characters"
            )
            return None
        return said

    async def _not_let_in(
        self, channel: web.WebSocketResponse, address: str, code: str, why: str
    ) -> None:
        self._host.turned_away(address, why)
        await _told(channel, code, why, UNAUTHORIZED)

    async def _turn_away(self, channel: web.WebSocketResponse, address: str) -> None:
        """Tell that the key is wrong, after a pause that grows with each wrong one."""
        wait_s = self._patience.failed(address, self._clock.monotonic())
        try:
            self._host.turned_away(address, "its key is wrong")
            await self._clock.sleep(wait_s)
        finally:
            self._patience.answered(address)
        await _told(
            channel, "unauthorized", "the API key is not one of this server's", UNAUTHORIZED
        )

    async def _let_in(
        self,
        said: Authenticate,
        channel: web.WebSocketResponse,
        transport: asyncio.Transport,
        address: str,
    ) -> Peer | None:
        """Let it in once no earlier connection of its machine is left; None if that takes long."""
        machine = said.machine_id
        turn = self._turns.setdefault(machine, asyncio.Lock())
        try:
            async with asyncio.timeout(self._limits.authenticate_s), turn:
                await self._end_earlier(machine)
                welcome = await self._host.welcome(said)
                await channel.send_str(
                    encode(Authenticated(daemon_id=welcome.daemon_id, last_seq=welcome.last_seq))
                )
                peer = Peer(
                    channel=channel,
                    cut=transport.abort,
                    said=said,
                    id=welcome.daemon_id,
                    last_seq=welcome.last_seq,
                    address=address,
                    limits=self._limits,
                    clock=self._clock,
                    listener=self._host,
                )
                self._peers[machine] = peer
                await self._host.arrived(peer)
                return peer
        except TimeoutError:
            await _told(
                channel, "busy", "an earlier connection of this machine has not ended yet", LATER
            )
            return None

    async def _end_earlier(self, machine: str) -> None:
        earlier = self._peers.get(machine)
        if earlier is not None:
            await earlier.close(REPLACED, "a newer connection of the same machine came")
            await earlier.gone.wait()

    async def _stay(self, peer: Peer) -> None:
        try:
            if self._stopping:
                peer.cut("this server stops")
            await peer.run()
        finally:
            if self._peers.get(peer.machine_id) is peer:
                del self._peers[peer.machine_id]
            try:
                await self._host.left(peer)
            finally:
                peer.gone.set()

    async def _look(self) -> None:
        """Look after every connection, now and again."""
        while True:
            await self._clock.sleep(LOOKS_EACH_S)
            for peer in list(self._peers.values()):
                peer.check()


_AUTHENTICATE_FIRST = ("bad_message", "the first frame is `authenticate`")


def _is_name(text: str) -> bool:
    return 0 < len(text) <= _LONGEST_NAME and text.isprintable()


async def _said_goodbye(peer: Peer) -> None:
    await peer.close(GOING_AWAY, "this server stops")
    await peer.gone.wait()


async def _told(channel: web.WebSocketResponse, code: str, message: str, close_code: int) -> None:
    """Say why, and close."""
    with contextlib.suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(CLOSE_S):
            await channel.send_str(encode(Error(code=code, message=message)))
            await channel.close(code=close_code, message=code.encode())


def _refusal(status: int, code: str, message: str) -> web.Response:
    headers = {"Retry-After": str(_RETRY_S)} if status in {429, 503} else {}
    headers |= {"Upgrade": "websocket"} if status == 426 else {}
    return web.json_response(
        {"error": {"code": code, "message": message}}, status=status, headers=headers
    )


class _Measure(asyncio.Protocol):
    """Stands between a connection and its reader and ends it if more than ``most`` bytes come: who
    has not shown a key yet gets no more memory than that.
    """

    def __init__(self, transport: asyncio.Transport, *, most: int) -> None:
        self._transport = transport
        self._reader = cast("asyncio.Protocol", transport.get_protocol())
        self._left = most
        transport.set_protocol(self)

    def stop(self) -> None:
        """Step aside."""
        if self._transport.get_protocol() is self:
            self._transport.set_protocol(self._reader)

    def data_received(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            self._transport.abort()
        else:
            self._reader.data_received(data)

    def eof_received(self) -> bool | None:
        return self._reader.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._reader.connection_lost(exc)

    def pause_writing(self) -> None:
        self._reader.pause_writing()

    def resume_writing(self) -> None:
        self._reader.resume_writing()


@contextlib.contextmanager
def _measured(transport: asyncio.Transport, *, most: int) -> Iterator[_Measure]:
    measure = _Measure(transport, most=most)
    try:
        yield measure
    finally:
        measure.stop()
