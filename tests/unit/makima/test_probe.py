from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from tachikoma.makima.probe import daemon_of, probe
from tachikoma.model.errors_fleet import UnreachableError


@asynccontextmanager
async def serving(answer: Callable[[web.Request], object]) -> AsyncIterator[int]:
    app = web.Application()
    app.router.add_get("/ws/daemon", answer)  # type: ignore[arg-type]  # it gives a response
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@pytest.mark.live
async def test_a_server_that_takes_the_connection_hears_nothing() -> None:
    heard: list[object] = []

    async def answer(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        heard.extend([message async for message in socket])
        return socket

    async with serving(answer) as port:
        await probe(f"ws://127.0.0.1:{port}/ws/daemon")
    assert heard == []


@pytest.mark.live
async def test_what_is_no_websocket_is_told_with_its_status() -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=403)

    async with serving(answer) as port:
        with pytest.raises(UnreachableError, match="not with a WebSocket: HTTP 403"):
            await probe(f"ws://127.0.0.1:{port}/ws/daemon")
        with pytest.raises(UnreachableError, match="not with a WebSocket: HTTP 404"):
            await probe(f"ws://127.0.0.1:{port}/elsewhere")


@pytest.mark.live
async def test_nobody_or_another_protocol_there_is_told() -> None:
    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        with pytest.raises(UnreachableError, match="cannot be reached"):
            await probe(f"ws://127.0.0.1:{port}/ws/daemon")
        with pytest.raises(UnreachableError, match="cannot be reached"):
            await probe(f"wss://127.0.0.1:{port}/ws/daemon")
    with pytest.raises(UnreachableError, match="cannot be reached"):
        await probe(f"ws://127.0.0.1:{port}/ws/daemon")


@pytest.mark.live
async def test_a_host_without_an_address_is_told() -> None:
    with pytest.raises(UnreachableError, match=r"no address for the host nowhere\.invalid"):
        await probe("ws://nowhere.invalid/ws/daemon")


def test_nobody_holds_a_database_that_has_no_lock(tmp_path: Path) -> None:
    assert daemon_of(tmp_path / "daemon.db") == ""
