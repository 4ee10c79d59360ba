"""A request on its way: a VM's client, the proxy, the API (scripted, on loopback), and back."""

from __future__ import annotations

import asyncio
import gzip
import io
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from tachikoma.credentials.port import Credential, Kind
from tests.flows.conftest import (
    OAUTH,
    PATIENCE_S,
    SECRET,
    TOKEN,
    World,
    listening,
    say_ok,
    the_world,
)

pytestmark = pytest.mark.live

MIB_5 = bytes(range(256)) * (5 << 12)


# What goes up


async def test_the_api_receives_exactly_the_clients_headers_with_the_real_key(world: World) -> None:
    sent = {
        "Accept": "application/json",
        "Content-Type": "application/json",
        "User-Agent": "claude-cli/2.1.197 (external, sdk-cli)",
        "anthropic-beta": "claude-code-20250219",
        "anthropic-version": "2023-06-01",
        "Accept-Encoding": "gzip, deflate, br, zstd",
        "x-api-key": TOKEN,
        "Authorization": f"Bearer {TOKEN}",
        "Connection": "keep-alive",
        "Proxy-Authorization": "Basic abc",
        "TE": "trailers",
    }
    async with world.messages(data=b"{}", headers=sent) as answer:
        assert (answer.status, await answer.text()) == (200, "ok")
    method, target, headers = world.api.heads[0]
    assert (method, target) == ("POST", "/v1/messages?beta=true")
    assert headers == {
        "Host": world.api.base.removeprefix("http://"),
        "Accept": "application/json",
        "Content-Type": "application/json",
        "User-Agent": "claude-cli/2.1.197 (external, sdk-cli)",
        "anthropic-beta": "claude-code-20250219",
        "anthropic-version": "2023-06-01",
        "Accept-Encoding": "gzip, deflate",
        "Content-Length": "2",
        "x-api-key": SECRET,
    }


async def test_an_oauth_token_goes_up_as_bearer_with_its_beta(world: World) -> None:
    world.source.credential = OAUTH
    async with world.messages(headers={"x-api-key": TOKEN, "anthropic-beta": "a,b"}) as answer:
        assert answer.status == 200
    headers = world.api.heads[0][2]
    assert headers["Authorization"] == "Bearer sk-ant-oat01-the-real-one"
    assert headers["anthropic-beta"] == "a,b,oauth-2025-04-20"
    assert "x-api-key" not in {name.lower() for name in headers}


async def test_a_bearer_token_of_the_vm_opens_too(world: World) -> None:
    async with world.messages(headers={"Authorization": f"Bearer {TOKEN}"}) as answer:
        assert answer.status == 200
    assert world.api.heads[0][2]["x-api-key"] == SECRET


async def test_five_megabytes_go_up_and_come_back_unchanged(world: World) -> None:
    async def echo(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=io.BytesIO(await read_all(request)))

    world.api.handler = echo
    sized = {"x-api-key": TOKEN, "Content-Length": str(len(MIB_5))}
    async with world.messages(data=io.BytesIO(MIB_5), headers=sized) as answer:
        assert await answer.read() == MIB_5
    assert world.api.heads[0][2]["Content-Length"] == str(len(MIB_5))
    assert (await world.line())["sent"] == len(MIB_5)


async def test_a_body_of_unknown_length_streams_up_as_it_is_made(world: World) -> None:
    first_arrived = asyncio.Event()

    async def in_two(request: web.BaseRequest) -> web.StreamResponse:
        first = await request.content.readany()
        first_arrived.set()
        return web.Response(body=first + await request.content.read())

    async def made() -> AsyncIterator[bytes]:
        yield b"first,"
        async with asyncio.timeout(PATIENCE_S):
            await first_arrived.wait()
        yield b"second"

    world.api.handler = in_two
    async with world.messages(data=made()) as answer:
        assert await answer.read() == b"first,second"
    assert world.api.heads[0][2]["Transfer-Encoding"] == "chunked"


async def test_a_client_that_expects_to_be_told_to_continue_is_told(world: World) -> None:
    async with world.messages(data=b"body", expect100=True) as answer:
        assert answer.status == 200
    assert "Expect" not in world.api.heads[0][2]


async def test_a_compressed_body_goes_up_as_it_is(world: World) -> None:
    packed = gzip.compress(b"{}")

    async def same(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text=str(await request.read() == packed))

    world.api.handler = same
    headers = {"x-api-key": TOKEN, "Content-Encoding": "gzip"}
    async with world.messages(data=packed, headers=headers) as answer:
        assert await answer.text() == "True"


# What comes down


async def test_each_event_reaches_the_client_before_the_next_one_is_sent(world: World) -> None:
    seen: list[asyncio.Event] = [asyncio.Event() for _ in range(5)]

    async def events(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for number, event in enumerate(seen):
            await response.write(f"event: n\ndata: {number}\n\n".encode())
            await event.wait()
        return response

    world.api.handler = events
    async with asyncio.timeout(PATIENCE_S), world.messages(data=b"{}") as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        for number, event in enumerate(seen):
            assert await answer.content.readany() == f"event: n\ndata: {number}\n\n".encode()
            event.set()
        assert await answer.content.read() == b""
    assert (await world.line())["verdict"] == "forwarded"


async def test_the_head_of_an_answer_arrives_before_its_body_begins(world: World) -> None:
    head_seen = asyncio.Event()

    async def slow(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await head_seen.wait()
        await response.write(b"at last")
        return response

    world.api.handler = slow
    async with asyncio.timeout(PATIENCE_S), world.messages() as answer:
        head_seen.set()
        assert await answer.read() == b"at last"


async def test_gzip_is_passed_through_undecoded(world: World) -> None:
    packed = gzip.compress(b"event: n\n\n" * 100)

    async def zipped(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=packed, headers={"Content-Encoding": "gzip"})

    world.api.handler = zipped
    async with (
        aiohttp.ClientSession(auto_decompress=False) as client,
        client.post(f"{world.url}/v1/messages", headers={"x-api-key": TOKEN}) as answer,
    ):
        assert answer.headers["Content-Encoding"] == "gzip"
        assert answer.headers["Content-Length"] == str(len(packed))
        assert await answer.read() == packed


@pytest.mark.parametrize("status", [400, 403, 404, 413, 429, 500, 503, 529])
async def test_an_error_of_the_api_passes_untouched(world: World, status: int) -> None:
    async def refuse(request: web.BaseRequest) -> web.StreamResponse:
        headers = {"retry-after": "3", "request-id": "req_1", "anthropic-ratelimit-x": "1"}
        return web.Response(status=status, text='{"type":"error"}', headers=headers)

    world.api.handler = refuse
    async with world.messages() as answer:
        assert (answer.status, await answer.text()) == (status, '{"type":"error"}')
        assert answer.headers["retry-after"] == "3"
        assert answer.headers["request-id"] == "req_1"
        assert answer.headers["anthropic-ratelimit-x"] == "1"
        assert "x-should-retry" not in answer.headers


async def test_a_redirect_is_handed_to_the_client_and_not_followed(world: World) -> None:
    async def away(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=307, headers={"Location": "http://127.0.0.1:1/"})

    world.api.handler = away
    async with world.messages(allow_redirects=False) as answer:
        assert answer.status == 307
    assert len(world.api.heads) == 1


RENEWED = Credential(Kind.API_KEY, "sk-ant-api03-renewed", "test")


async def refuse_the_old_key(request: web.BaseRequest) -> web.StreamResponse:
    """Be an API for which only the renewed key is good."""
    body = await read_all(request)
    if request.headers["x-api-key"] != RENEWED.secret:
        return web.Response(status=401, text='{"type":"error"}')
    return web.Response(body=body)


@pytest.mark.parametrize("chunked", [False, True])
async def test_after_a_401_the_request_is_sent_once_more_with_the_fresh_credential(
    world: World, chunked: bool
) -> None:
    async def made() -> AsyncIterator[bytes]:
        yield b"in "
        yield b"pieces"

    async def refuse(request: web.BaseRequest) -> web.StreamResponse:
        world.source.credential = RENEWED  # the host's own Claude Code has renewed it meanwhile
        return await refuse_the_old_key(request)

    world.api.handler = refuse
    async with world.messages(data=made() if chunked else b"in pieces") as answer:
        assert (answer.status, await answer.text()) == (200, "in pieces")
    assert [head[2]["x-api-key"] for head in world.api.heads] == [SECRET, RENEWED.secret]
    assert (await world.line())["status"] == 200


async def test_a_dead_credential_is_said_at_once_with_the_hint_to_give_up(world: World) -> None:
    world.api.handler = refuse_the_old_key
    async with world.messages(data=b"{}") as answer:
        assert (answer.status, await answer.text()) == (401, '{"type":"error"}')
        assert answer.headers["x-should-retry"] == "false"
    assert len(world.api.heads) == 1
    assert world.source.looks == 2


async def test_many_refused_at_once_cause_one_look(world: World) -> None:
    together = asyncio.Barrier(8)

    async def refuse(request: web.BaseRequest) -> web.StreamResponse:
        if request.headers["x-api-key"] == SECRET:
            await together.wait()
            world.source.credential = RENEWED
        return await refuse_the_old_key(request)

    async def one() -> int:
        async with world.messages(data=b"{}") as answer:
            return int(answer.status)

    world.api.handler = refuse
    async with asyncio.timeout(PATIENCE_S):
        assert await asyncio.gather(*(one() for _ in range(8))) == [200] * 8
    assert world.source.looks == 2


async def test_a_body_too_long_to_keep_is_asked_for_again(world: World) -> None:
    async def refuse(request: web.BaseRequest) -> web.StreamResponse:
        world.source.credential = RENEWED
        return await refuse_the_old_key(request)

    sized = {"x-api-key": TOKEN, "Content-Length": str(len(MIB_5))}
    world.api.handler = refuse
    async with world.messages(data=io.BytesIO(MIB_5), headers=sized) as answer:
        assert answer.status == 503
        assert "x-should-retry" not in answer.headers
        assert "send it again" in (await answer.json())["error"]["message"]
    async with world.messages(data=io.BytesIO(MIB_5), headers=sized) as answer:
        assert (answer.status, await answer.read()) == (200, MIB_5)


# Who goes away


async def test_a_client_that_goes_away_ends_the_request_to_the_api(world: World) -> None:
    ended = asyncio.Event()

    async def endless(request: web.BaseRequest) -> web.StreamResponse:
        try:
            response = web.StreamResponse()
            await response.prepare(request)
            await response.write(b"first")
            await asyncio.Event().wait()
            return response
        finally:
            ended.set()

    world.api.handler = endless
    async with world.messages() as answer:
        assert await answer.content.readany() == b"first"
        answer.close()
    async with asyncio.timeout(PATIENCE_S):
        await ended.wait()
    assert (await world.line())["verdict"] == "abandoned"


async def test_a_client_that_goes_away_before_the_answer_ends_it_too(world: World) -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def silent(request: web.BaseRequest) -> web.StreamResponse:
        began.set()
        try:
            await asyncio.Event().wait()
            return web.Response()
        finally:
            ended.set()

    world.api.handler = silent
    _, port = world.url.rsplit(":", 1)
    _, writer = await asyncio.open_connection("127.0.0.1", int(port))
    writer.write(f"GET /v1/models HTTP/1.1\r\nHost: p\r\nx-api-key: {TOKEN}\r\n\r\n".encode())
    async with asyncio.timeout(PATIENCE_S):
        await began.wait()
        writer.close()
        await ended.wait()
    told = await world.line()
    assert (told["verdict"], told["status"]) == ("abandoned", None)


@pytest.mark.parametrize("length", [None, "100"])
async def test_an_answer_that_breaks_off_is_seen_as_broken(
    world: World, length: str | None
) -> None:
    async def breaks(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": length} if length else {})
        await response.prepare(request)
        await response.write(b"first")
        assert request.transport is not None
        request.transport.close()
        return response

    world.api.handler = breaks
    async with asyncio.timeout(PATIENCE_S), world.messages() as answer:
        assert await answer.content.readany() == b"first"
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.content.read()
    assert (await world.line())["verdict"] == "broken"


async def test_an_api_that_breaks_off_before_the_head_gives_502(world: World) -> None:
    async def breaks(request: web.BaseRequest) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    world.api.handler = breaks
    async with world.messages(data=b"{}") as answer:
        assert answer.status == 502
        assert (await answer.json())["error"]["type"] == "api_error"
        assert "x-should-retry" not in answer.headers


async def test_an_api_that_cannot_be_reached_gives_502(tmp_path: Path) -> None:
    async with listening(say_ok) as gone:
        pass
    async with the_world(tmp_path, base=gone) as world, world.messages(data=b"{}") as answer:
        assert answer.status == 502
        told = await answer.json()
        assert told["type"] == "error"
        assert told["error"]["type"] == "api_error"
        assert "cannot be reached" in told["error"]["message"]


async def test_the_ledger_tells_what_happened_and_no_secret(world: World) -> None:
    async with world.messages(data=b"{}") as answer:
        assert answer.status == 200
    told = await world.line()
    seconds = [told.pop("time"), told.pop("first_byte_s"), told.pop("duration_s")]
    assert told == {
        "method": "POST",
        "host": "",
        "path": "/v1/messages",
        "vm": "tachikoma-repo-main",
        "branch": "main",
        "status": 200,
        "received": 2,
        "sent": 2,
        "verdict": "forwarded",
        "why": "",
    }
    assert seconds[0].endswith("+00:00")
    assert 0 < seconds[1] <= seconds[2] < PATIENCE_S
    assert "sk-ant" not in world.requests.read_text()


async def read_all(request: web.BaseRequest) -> bytes:
    return b"".join([chunk async for chunk in request.content.iter_any()])
