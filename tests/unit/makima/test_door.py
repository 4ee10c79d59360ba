from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from tachikoma.makima.door import Door, handed_on, http_base

pytestmark = pytest.mark.live  # real sockets on the loopback


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("ws://localhost:8080/ws/daemon", "http://localhost:8080"),
        ("wss://makima.example.com/a/b?c", "https://makima.example.com"),
        ("ws://[::1]:80/", "http://[::1]:80"),
    ],
)
def test_the_api_is_at_the_origin_of_the_web_socket(url: str, base: str) -> None:
    assert http_base(url) == base


def test_headers_of_one_connection_stay_there() -> None:
    given = [("Connection", "close, X-Mine"), ("X-Mine", "1"), ("Host", "a"), ("X-Key", "k")]
    assert list(handed_on(given).items()) == [("X-Key", "k")]


@pytest.fixture
async def server() -> AsyncIterator[str]:
    async def answer(request: web.Request) -> web.Response:
        told = f"{request.method} {request.raw_path} {request.headers.get('X-Key')}"
        return web.Response(
            text=f"{told} {(await request.read()).decode()}",
            status=int(request.query.get("status", 200)),
            headers={"X-Said": "yes"},
        )

    application = web.Application()
    application.router.add_route("*", "/{rest:.*}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_a_request_for_the_api_is_handed_on_as_it_is(server: str) -> None:
    async with Door(server) as door, aiohttp.ClientSession() as client:
        url = f"http://127.0.0.1:{door.endpoint.port}/api/v1/tasks%2F1?a=b&status=201"
        async with client.post(url, data=b"body", headers={"X-Key": "k"}) as answer:
            assert answer.status == 201
            assert answer.headers["X-Said"] == "yes"
            said = await answer.text()
    assert said == "POST /api/v1/tasks%2F1?a=b&status=201 k body"


async def test_nothing_but_the_api_is_behind_the_door(server: str) -> None:
    async with Door(server) as door, aiohttp.ClientSession() as client:
        for path in ("/", "/health", "/ws/daemon", "/apis", "/x/../apix"):
            url = f"http://127.0.0.1:{door.endpoint.port}{path}"
            async with client.get(url) as answer:
                assert answer.status == 404


@pytest.mark.parametrize("path", ["/api/../health", "/api/%2e%2e/health", "/api/x/..%2f..%5c../"])
async def test_no_path_leads_out_of_the_api(server: str, path: str) -> None:
    async with Door(server) as door:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.endpoint.port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 404 ")


async def test_a_server_that_is_away_gives_502() -> None:
    async with Door("http://127.0.0.1:1") as door, aiohttp.ClientSession() as client:
        answer = await client.get(f"http://127.0.0.1:{door.endpoint.port}/api/x")
        assert (answer.status, await answer.text()) == (502, "the server was not reached\n")
