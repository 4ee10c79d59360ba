"""What the proxy answers on its own: to whom it refuses, about its health, and as it ends."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from tachikoma.proxy.route import token_hash
from tests.flows.conftest import PATIENCE_S, SECRET, TOKEN, World, record, the_world

pytestmark = pytest.mark.live


# Who may not


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-api-key": ""},
        {"x-api-key": "wrong"},
        {"x-api-key": SECRET},
        {"x-api-key": token_hash(TOKEN)},
        {"Authorization": TOKEN},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer"},
        {"Authorization": f"Basic {TOKEN}"},
        {"x-api-key": "wrong", "Authorization": f"Bearer {TOKEN}"},
    ],
)
async def test_without_a_live_token_nothing_goes_up(world: World, headers: dict[str, str]) -> None:
    async with world.messages(data=bytes(1 << 20), headers=headers) as answer:
        assert answer.status == 401
        assert answer.headers["x-should-retry"] == "false"
        assert (await answer.json())["error"]["type"] == "authentication_error"
    assert world.api.heads == []
    assert world.source.looks == 0
    assert (await world.line())["verdict"] == "denied"


async def test_the_token_of_a_destroyed_vm_is_dead_at_the_next_request(world: World) -> None:
    async with world.messages() as answer:
        assert answer.status == 200
    with world.store.edit() as ledger:
        ledger.drop(record().name)
    async with world.messages() as answer:
        assert answer.status == 401
    with world.store.edit() as ledger:
        ledger.put(record())
    async with world.messages() as answer:
        assert answer.status == 200
    assert len(world.api.heads) == 2


async def test_a_state_file_that_cannot_be_read_lets_nobody_pass(world: World) -> None:
    state = world.requests.parent.parent / "state.json"
    whole = state.read_bytes()
    state.write_bytes(whole[:20])
    async with world.messages() as answer:
        assert answer.status == 503
    assert world.api.heads == []
    state.write_bytes(whole)
    async with world.messages() as answer:
        assert answer.status == 200


async def test_without_a_credential_the_client_is_told_to_give_up(world: World) -> None:
    world.source.credential, world.source.why = None, "said something private"
    async with world.messages() as answer:
        assert answer.status == 503
        assert answer.headers["x-should-retry"] == "false"
        text = await answer.text()
    assert "no credential" in text
    assert "private" not in text
    assert world.api.heads == []
    assert (await world.line())["verdict"] == "failed"


# What the proxy says itself


async def test_health_is_the_documented_body_and_is_not_recorded(world: World) -> None:
    async with world.client.get(f"{world.url}/health") as answer:
        assert await answer.read() == b'{"status":"ok","proxy":"tachikoma"}'
        assert answer.headers["Content-Type"].startswith("application/json")
        assert answer.headers["x-tachikoma-instance"] == "0123abcd"
    async with world.client.head(f"{world.url}/") as answer:
        assert answer.status == 200
    assert (await world.line())["path"] == "/"


@pytest.mark.parametrize(
    "line",
    [
        "CONNECT api.anthropic.com:443 HTTP/1.1",
        "GET http://169.254.169.254/latest HTTP/1.1",
        "GET //evil.example/v1/models HTTP/1.1",
        "GET /v1/../v1/models HTTP/1.1",
        "GET /v1/%2e%2e/models HTTP/1.1",
        "GET /v1\\models HTTP/1.1",
        "GET /v1/models\x01 HTTP/1.1",
        "GET /v1/models#/../x HTTP/1.1",
        "TRACE /v1/models HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "GET /v2/models HTTP/1.1",
        "GET /v1/models HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6",
        "GET /v1/models HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
        "GET /v1/models HTTP/1.1\r\nX-Folded: a\r\n b",
        f"GET /v1/models HTTP/1.1\r\nx-api-key: {TOKEN}",
    ],
)
async def test_a_crooked_request_is_refused_at_the_socket(world: World, line: str) -> None:
    _, port = world.url.rsplit(":", 1)
    reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
    writer.write(f"{line}\r\nHost: p\r\nx-api-key: {TOKEN}\r\nConnection: close\r\n\r\n".encode())
    async with asyncio.timeout(PATIENCE_S):
        status = int((await reader.read()).split(b" ")[1])
    writer.close()
    assert status in {400, 401, 404, 405}
    assert world.api.heads == []


# How it ends


async def test_stopping_lets_a_request_finish_and_takes_no_new_one(tmp_path: Path) -> None:
    began, go_on = asyncio.Event(), asyncio.Event()

    async def slow(request: web.BaseRequest) -> web.StreamResponse:
        began.set()
        await go_on.wait()
        return web.Response(text="finished")

    async with the_world(tmp_path) as world:
        world.api.handler = slow
        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
            asking = group.create_task(_text(world))
            await began.wait()
            world.proxy._drain_s = PATIENCE_S
            url = world.url
            stopping = group.create_task(world.proxy.__aexit__(None, None, None))
            await asyncio.sleep(0)
            with pytest.raises(aiohttp.ClientConnectionError):
                await world.client.get(url)
            assert not stopping.done()
            go_on.set()
        assert asking.result() == "finished"


async def test_stopping_breaks_off_what_does_not_finish(tmp_path: Path) -> None:
    began = asyncio.Event()

    async def endless(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"first")
        began.set()
        await asyncio.Event().wait()
        return response

    async with the_world(tmp_path) as world:
        world.api.handler = endless
        async with asyncio.timeout(PATIENCE_S), world.messages() as answer:
            await began.wait()
            await world.proxy.__aexit__(None, None, None)
            with pytest.raises(aiohttp.ClientPayloadError):
                await answer.read()


async def _text(world: World) -> str:
    async with world.messages() as answer:
        return str(await answer.text())
