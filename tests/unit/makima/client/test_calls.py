from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from tachikoma.host.clock import SystemClock
from tachikoma.makima.client.account import Account
from tachikoma.makima.client.calls import ServerCalls
from tachikoma.model.errors_fleet import RequestError, ServerAwayError

pytestmark = pytest.mark.live
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def served(handler: Handler) -> AsyncIterator[ServerCalls]:
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with ServerCalls(Account(url, "mku_k"), clock=SystemClock()) as calls:
            yield calls
    finally:
        await runner.cleanup()


async def test_a_refusal_is_told_as_the_server_says_it() -> None:
    async def refuse(_: web.Request) -> web.Response:
        told = {"error": {"code": "wrong_state", "message": "it is done", "hint": "look"}}
        return web.json_response(told, status=409)

    async with served(refuse) as calls:
        with pytest.raises(RequestError) as caught:
            await calls.post("/tasks", {"plan": "x"})
    assert (caught.value.status, caught.value.reason) == (409, "wrong_state")
    assert (caught.value.message, caught.value.hint) == ("it is done", "look")


@pytest.mark.parametrize("text", ["<html>", "[]", ""])
async def test_what_is_no_makima_server_is_told(text: str) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=text)

    async with served(answer) as calls:
        with pytest.raises(ServerAwayError) as caught:
            await calls.get("/tasks")
    assert caught.value.reason == "no_makima"


async def test_a_status_without_our_shape_is_told_too() -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=502, text="bad gateway")

    async with served(answer) as calls:
        with pytest.raises(RequestError, match="HTTP 502"):
            await calls.get("/tasks")


async def test_a_stream_that_breaks_off_is_taken_up_where_it_was() -> None:
    seen: list[str] = []
    had = asyncio.Event()
    events = []

    async def stream(request: web.Request) -> web.StreamResponse:
        seen.append(request.headers["Last-Event-ID"])
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        if len(seen) == 1:
            await response.write(b': hello\n\nid: 7\nevent: output\ndata: {"a":')
            await response.write(b' 1}\r\n\r\nid: 8\nevent: output\ndata: {"lost')
            await had.wait()
            assert request.transport is not None
            request.transport.close()
            return response
        await response.write(b'id: 8\nevent: output\ndata: {"a": 2}\n\n')
        await response.write(b'event: end\ndata: {"status": "done"}\n\n')
        return response

    async with served(stream) as calls:
        async for event in calls.stream("/x", after=3):
            events.append(event)
            had.set()
    assert seen == ["3", "7"]
    assert [(event.kind, event.id) for event in events] == [
        ("output", 7),
        ("output", 8),
        ("end", None),
    ]


async def test_a_stream_that_is_refused_is_not_asked_for_again() -> None:
    count = 0

    async def refuse(_: web.Request) -> web.Response:
        nonlocal count
        count += 1
        return web.json_response({"error": {"code": "not_found", "message": "no"}}, status=404)

    async with served(refuse) as calls:
        with pytest.raises(RequestError):
            async for _ in calls.stream("/x", after=0):
                pass
    assert count == 1
