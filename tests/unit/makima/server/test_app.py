from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from tachikoma.host.clock import SystemClock
from tachikoma.makima.server.app import ServerPlan, serve, serving
from tachikoma.makima.server.desk import Desk
from tachikoma.model.errors_fleet import ServerPortError
from tachikoma.model.vm import Endpoint

pytestmark = pytest.mark.live


def plan(directory: Path, port: int = 0) -> ServerPlan:
    return ServerPlan(bind="127.0.0.1", port=port, database=directory / "server.db")


async def test_it_serves_pages_of_others_with_the_same_headers(tmp_path: Path) -> None:
    def pages(app: web.Application, desk: Desk) -> None:
        assert isinstance(desk, Desk)

        async def page(_: web.Request) -> web.Response:
            headers = {"Content-Security-Policy": "default-src 'self'"}
            return web.Response(text="<p>", content_type="text/html", headers=headers)

        app.router.add_get("/", page)

    async with (
        serving(plan(tmp_path), clock=SystemClock(), add_routes=pages) as endpoint,
        aiohttp.ClientSession() as client,
        client.get(f"http://{endpoint}/") as answer,
    ):
        assert answer.headers["Content-Security-Policy"] == "default-src 'self'"
        assert answer.headers["X-Frame-Options"] == "DENY"


async def test_a_port_that_is_taken_is_told_and_nothing_is_held(tmp_path: Path) -> None:
    async with serving(plan(tmp_path / "a"), clock=SystemClock()) as endpoint:
        with pytest.raises(ServerPortError, match="address already in use"):
            async with serving(plan(tmp_path / "b", endpoint.port), clock=SystemClock()):
                pass
    async with serving(plan(tmp_path / "b"), clock=SystemClock()):
        pass


@pytest.mark.parametrize("bind", ["nowhere.invalid", "203.0.113.9"])
async def test_an_address_of_another_machine_is_told(tmp_path: Path, bind: str) -> None:
    elsewhere = ServerPlan(bind=bind, port=0, database=tmp_path / "server.db")
    with pytest.raises(ServerPortError, match=f"{bind} is not an address") as caught:
        async with serving(elsewhere, clock=SystemClock()):
            pass
    assert "--bind" in caught.value.hint


async def test_it_announces_itself_and_serves_until_it_is_cancelled(tmp_path: Path) -> None:
    told: asyncio.Future[Endpoint] = asyncio.get_running_loop().create_future()
    serving_ = asyncio.create_task(
        serve(plan(tmp_path), clock=SystemClock(), announce=told.set_result)
    )
    async with asyncio.timeout(5):
        assert (await told).port > 0
    serving_.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving_
    async with serving(plan(tmp_path), clock=SystemClock()):
        pass
