"""A makima daemon for tests and measurements: one WebSocket, and it says what it is told to say.

It is the wire and nothing else; a daemon that keeps what it says is `tachikoma.makima.link`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import aiohttp

from tachikoma.makima.commands import Command
from tachikoma.makima.messages import Authenticate, Message
from tachikoma.makima.wire import BadFrame, decode_command, encode, numbered

WAIT_S = 10.0
Frame = dict[str, Any]


@dataclass(slots=True)
class WireDaemon:
    """One connection. ``frames`` are all that came on it, in order, ``pongs`` the answers."""

    channel: aiohttp.ClientWebSocketResponse[bool]
    autopong: bool = True
    frames: list[Frame] = field(default_factory=list)
    pongs: list[bytes] = field(default_factory=list)
    closed_with: tuple[int | None, str] | None = None
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    heed: Callable[[Frame], None] = lambda frame: None

    async def say(self, message: Message | str | bytes, *, seq: int | None = None) -> None:
        """Send a message, any text, or a binary frame."""
        if isinstance(message, bytes):
            await self.channel.send_bytes(message)
            return
        text = message if isinstance(message, str) else encode(message)
        await self.channel.send_str(text if seq is None else numbered(text, seq))

    async def authenticate(
        self, key: str, machine: str, *, most: int = 4, hostname: str = "worker"
    ) -> UUID:
        """Be let in; gives the daemon's id."""
        await self.say(
            Authenticate(
                api_key=key, machine_id=machine, hostname=hostname, max_concurrent_tasks=most
            )
        )
        (welcome,) = await self.heard("authenticated")
        return UUID(welcome["daemonId"])

    async def heard(self, kind: str, count: int = 1, *, deadline_s: float = WAIT_S) -> list[Frame]:
        """Wait until ``count`` frames of that type came; gives all of it."""
        await self.until(lambda: len(self.of(kind)) >= count, deadline_s=deadline_s)
        return self.of(kind)

    def of(self, kind: str) -> list[Frame]:
        return [frame for frame in self.frames if frame.get("type") == kind]

    def commands(self) -> list[Command]:
        """All that came and is a command beyond the welcome."""
        read = [decode_command(json.dumps(each)) for each in self.frames]
        return [
            each
            for each in read
            if not isinstance(each, BadFrame) and each.type not in {"authenticated", "error"}
        ]

    async def over(self, *, deadline_s: float = WAIT_S) -> tuple[int | None, str]:
        """Wait for the end; gives the close code and what was said with it."""
        await self.until(lambda: self.closed_with is not None, deadline_s=deadline_s)
        assert self.closed_with is not None
        return self.closed_with

    async def settled(self) -> None:
        """Wait until the other side has taken all that was said."""
        before = len(self.pongs)
        await self.channel.ping(b"settled?")
        await self.until(lambda: len(self.pongs) > before)

    async def until(self, true: Callable[[], object], *, deadline_s: float = WAIT_S) -> None:
        async with asyncio.timeout(deadline_s), self.changed:
            await self.changed.wait_for(true)

    async def listen(self) -> None:
        """Take what comes, to the end."""
        while True:
            message = await self.channel.receive()
            match message.type:
                case aiohttp.WSMsgType.TEXT:
                    self.frames.append(json.loads(message.data))
                    self.heed(self.frames[-1])
                case aiohttp.WSMsgType.PING:
                    if self.autopong:
                        with contextlib.suppress(ConnectionError):
                            await self.channel.pong(message.data)
                case aiohttp.WSMsgType.PONG:
                    self.pongs.append(message.data)
                case aiohttp.WSMsgType.CLOSE:
                    self.closed_with = (message.data, message.extra or "")
                    await self._tell()
                    return
                case _:
                    self.closed_with = (self.channel.close_code, "")
                    await self._tell()
                    return
            await self._tell()

    def cut(self) -> None:
        """Break off at once."""
        transport = self.channel.get_extra_info("socket")
        with contextlib.suppress(OSError):
            transport.shutdown(socket.SHUT_RDWR)

    async def _tell(self) -> None:
        async with self.changed:
            self.changed.notify_all()


@asynccontextmanager
async def wire_daemon(
    url: str, *, reads: bool = True, autopong: bool = True
) -> AsyncIterator[WireDaemon]:
    """Connect; with ``reads`` off nothing is read from the socket."""
    async with (
        aiohttp.ClientSession() as client,
        client.ws_connect(
            url,
            autoping=False,
            max_msg_size=0,
            timeout=aiohttp.ClientWSTimeout(ws_close=1.0),
        ) as channel,
    ):
        daemon = WireDaemon(channel, autopong=autopong)
        listening = asyncio.get_running_loop().create_task(daemon.listen()) if reads else None
        try:
            yield daemon
        finally:
            if listening is not None:
                listening.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await listening
            else:
                daemon.cut()
