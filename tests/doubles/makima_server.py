"""A makima server for tests: real WebSockets on loopback, and it does as it is told.

In a test::

    async with MakimaServer() as server:
        ...                                     # a daemon connects to server.url
        daemon = await server.daemon()          # it is let in
        await daemon.send(PauseTask(task_id=...))
        (done,) = await server.said("taskComplete")

As a program (``python -m tests.doubles.makima_server --port 0 --log FILE``) it writes
``{"connection": N, "frame": {...}}`` to FILE for each frame, prints its URL, and is told what to do
by HTTP: POST /control/send with a frame as body, POST /control/cut, POST /control/manners with a
JSON object of `Manners`, GET /control for what it saw.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import socket
import ssl
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import UUID, uuid4

from aiohttp import WSMsgType, web

from tachikoma.makima.commands import Authenticated, Command, Error
from tachikoma.makima.wire import encode

PATH = "/ws/daemon"
WAIT_S = 10.0
Frame = dict[str, Any]


@dataclass(slots=True)
class Manners:
    """How the server behaves; may be changed at any time, for what comes then."""

    http_status: int = 0
    """Answers an upgrade with this status instead."""
    api_key: str = ""
    """The key it wants; "" takes any."""
    error_code: str = ""
    """Lets nobody in, and says this code."""
    silent: bool = False
    """Never answers `authenticate`."""
    counts: bool = False
    """Says `lastSeq`, and passes over what it has already."""
    pongs: bool = True
    """Answers pings."""
    reads: bool = True
    """Reads at all; it does not while this is False."""


@dataclass(slots=True, eq=False)
class Daemon:
    """One connection, by its ``number``, from 1. ``frames`` are those of it alone, in order."""

    number: int
    channel: web.WebSocketResponse
    request: web.Request
    frames: list[Frame] = field(default_factory=list)
    pongs: list[bytes] = field(default_factory=list)
    let_in: bool = False
    over: bool = False
    close_code: int | None = None

    async def send(self, frame: Command | str | bytes) -> None:
        """Send a command, any text, or a binary frame."""
        if isinstance(frame, bytes):
            await self.channel.send_bytes(frame)
        else:
            await self.channel.send_str(frame if isinstance(frame, str) else encode(frame))

    async def send_broken_text(self, data: bytes) -> None:
        """Send a text frame that is no UTF-8."""
        await self.channel.send_frame(data, WSMsgType.TEXT)

    async def close(self, code: int = 1001) -> None:
        await self.channel.close(code=code)

    def cut(self) -> None:
        """Break off with a reset, as a server that dies does."""
        transport = self.request.transport
        if transport is not None:
            with contextlib.suppress(OSError):
                transport.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )
            transport.abort()


class MakimaServer:
    """Listens from beginning to end of its block. ``frames`` are all that came, of every
    connection, in order; with ``manners.counts`` those that it did not have before.
    """

    def __init__(
        self,
        *,
        manners: Manners | None = None,
        port: int = 0,
        log: Path | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.manners = manners or Manners()
        self.daemons: list[Daemon] = []
        self.frames: list[Frame] = []
        self.upgrades = 0
        self.last: dict[str, int] = {}
        """The highest number of each machine."""
        self.api: list[tuple[str, str]] = []
        """What was asked of the API: the path, and the header ``Authorization``."""
        self._port = port
        self._log = log
        self._tls = tls
        self._changed = asyncio.Condition()
        self._stack = AsyncExitStack()

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        return f"{'wss' if self._tls else 'ws'}://127.0.0.1:{self._port}{PATH}"

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get(PATH, self._serve)
        app.router.add_get("/control", self._tell)
        app.router.add_route("*", "/api/{rest:.*}", self._api)
        app.router.add_post("/control/{what}", self._control)
        runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, "127.0.0.1", self._port, ssl_context=self._tls)
        await site.start()
        self._port = runner.addresses[0][1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for each in self.daemons:
            if not each.over:
                each.cut()
        self.manners.reads = True
        await self.changed()
        await self._stack.aclose()

    async def changed(self) -> None:
        """Let everybody look again; to be called when manners were changed from outside."""
        async with self._changed:
            self._changed.notify_all()

    async def until(self, true: Callable[[], object], *, deadline_s: float = WAIT_S) -> None:
        """Wait until ``true`` says so."""
        async with asyncio.timeout(deadline_s), self._changed:
            await self._changed.wait_for(true)

    async def daemon(self, number: int = 0, *, deadline_s: float = WAIT_S) -> Daemon:
        """Wait for the connection of that number (0: the newest) to be let in."""

        def there() -> bool:
            if number:
                return len(self.daemons) >= number and self.daemons[number - 1].let_in
            return bool(self.daemons) and self.daemons[-1].let_in and not self.daemons[-1].over

        await self.until(there, deadline_s=deadline_s)
        return self.daemons[number - 1]

    async def over(self, number: int, *, deadline_s: float = WAIT_S) -> Daemon:
        """Wait for the connection of that number to be gone."""
        await self.until(
            lambda: len(self.daemons) >= number and self.daemons[number - 1].over,
            deadline_s=deadline_s,
        )
        return self.daemons[number - 1]

    async def said(self, kind: str, count: int = 1, *, deadline_s: float = WAIT_S) -> list[Frame]:
        """Wait until there are ``count`` frames of that type; give all of it."""
        await self.until(lambda: len(list(self._of(kind))) >= count, deadline_s=deadline_s)
        return list(self._of(kind))

    def _of(self, kind: str) -> Iterator[Frame]:
        return (frame for frame in self.frames if frame.get("type") == kind)

    async def _api(self, request: web.Request) -> web.Response:
        self.api.append((request.path, request.headers.get("Authorization", "")))
        return web.json_response({"path": request.path})

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.upgrades += 1
        await self.changed()
        if self.manners.http_status:
            return web.Response(status=self.manners.http_status)
        channel = web.WebSocketResponse(max_msg_size=0, autoping=False)
        await channel.prepare(request)
        daemon = Daemon(len(self.daemons) + 1, channel, request)
        self.daemons.append(daemon)
        await self.changed()
        try:
            with contextlib.suppress(ConnectionError):
                await self._converse(daemon)
        finally:
            daemon.over = True
            daemon.close_code = channel.close_code
            await self.changed()
        return channel

    async def _converse(self, daemon: Daemon) -> None:
        while True:
            if not self.manners.reads:
                async with self._changed:
                    await self._changed.wait_for(lambda: self.manners.reads)
            message = await daemon.channel.receive()
            if message.type is WSMsgType.TEXT:
                await self._heard(daemon, message.data)
            elif message.type is WSMsgType.PING:
                if self.manners.pongs:
                    await daemon.channel.pong(message.data)
            elif message.type is WSMsgType.PONG:
                daemon.pongs.append(bytes(message.data))
            else:
                return

    async def _heard(self, daemon: Daemon, text: str) -> None:
        frame: Frame = json.loads(text)
        daemon.frames.append(frame)
        machine = daemon.frames[0].get("machineId", "")
        seq = frame.get("seq")
        if self.manners.counts and seq is not None:
            if seq <= self.last.get(machine, 0):
                return
            self.last[machine] = seq
        self.frames.append(frame)
        if self._log is not None:
            with self._log.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"connection": daemon.number, "frame": frame}) + "\n")
        if len(daemon.frames) == 1 and not self.manners.silent:
            await self._answer(daemon, frame)
        await self.changed()

    async def _answer(self, daemon: Daemon, frame: Frame) -> None:
        manners = self.manners
        code = manners.error_code
        if manners.api_key not in {"", frame.get("apiKey")}:
            code = "invalid_api_key"
        if code:
            await daemon.send(Error(code=code, message="not today"))
            await daemon.close(1008)
            return
        last = self.last.get(frame["machineId"], 0) if manners.counts else None
        await daemon.send(Authenticated(daemon_id=uuid4(), last_seq=last))
        daemon.let_in = True

    async def _tell(self, _request: web.Request) -> web.Response:
        return web.json_response(
            {
                "upgrades": self.upgrades,
                "connections": [
                    {"let_in": each.let_in, "over": each.over, "frames": len(each.frames)}
                    for each in self.daemons
                ],
                "frames": len(self.frames),
                "manners": asdict(self.manners),
            }
        )

    async def _control(self, request: web.Request) -> web.Response:
        what, body = request.match_info["what"], await request.text()
        if what == "manners":
            for name, value in json.loads(body).items():
                if name not in {each.name for each in fields(Manners)}:
                    raise web.HTTPBadRequest(text=f"there is no {name}")
                setattr(self.manners, name, value)
            await self.changed()
        elif what in {"send", "cut"}:
            if not self.daemons or self.daemons[-1].over:
                raise web.HTTPConflict(text="no daemon is connected")
            if what == "send":
                await self.daemons[-1].send(body)
            else:
                self.daemons[-1].cut()
        else:
            raise web.HTTPNotFound
        return web.Response(status=204)


def task_of(frame: Frame) -> UUID:
    """Give the task that a frame is about."""
    return UUID(frame["taskId"])


async def main(words: list[str]) -> None:
    """Serve until it is ended."""
    parser = argparse.ArgumentParser(prog="makima_server", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--key", default="")
    parser.add_argument("--counts", action="store_true")
    given = parser.parse_args(words)
    manners = Manners(api_key=given.key, counts=given.counts)
    async with MakimaServer(manners=manners, port=given.port, log=given.log) as server:
        print(server.url, flush=True)  # noqa: T201 - whoever started it waits for this line
        await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(sys.argv[1:]))
