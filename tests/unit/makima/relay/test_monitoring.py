from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import pytest

from tachikoma.host.clock import SystemClock, attempts
from tachikoma.makima.messages import TaskComplete
from tachikoma.makima.relay.monitoring import is_loopback
from tachikoma.model.vm import Endpoint
from tests.doubles.makima_daemon import wire_daemon
from tests.doubles.makima_relay import KEY, Running, World, daemon, order, world

pytestmark = pytest.mark.live

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


@asynccontextmanager
async def asked(
    relay: Running, path: str, *, method: str = "GET", headers: dict[str, str] | None = None
) -> AsyncIterator[aiohttp.ClientResponse]:
    async with (
        aiohttp.ClientSession() as client,
        client.request(method, f"{relay.http}{path}", headers=headers) as answer,
    ):
        yield answer


async def given(relay: Running, path: str) -> Any:
    async with asked(relay, path) as answer:
        assert answer.status == 200
        return await answer.json()


async def test_the_status_is_what_the_seed_shows(here: World) -> None:
    async with here.relay() as relay, daemon(relay.url, "m") as worker:
        await here.send(order(1), order(2), order(3))
        await worker.heard("spawnTask", 3)
        await worker.say(TaskComplete(task_id=UUID(int=1), success=True))
        await worker.settled()
        await here.server.said("heartbeat")
        told = await given(relay, "/status")
        assert re.fullmatch(TIME, told.pop("lastHeartbeat"))
        assert str(UUID(told["daemonId"])) == told.pop("daemonId")
        assert told == {
            "status": "ok",
            "agentName": "edge",
            "upstreamConnected": True,
            "connectedDaemons": 1,
            "activeTasks": 2,
            "totalTasksProcessed": 1,
        }
        assert list(await given(relay, "/")) == list(await given(relay, "/status"))
        assert await given(relay, "/health") == {"healthy": True, "upstreamConnected": True}


async def test_without_its_server_the_relay_is_healthy_and_says_that_it_is_not_connected(
    here: World,
) -> None:
    here.server.manners.http_status = 503
    async with here.relay() as relay:
        assert await given(relay, "/health") == {"healthy": True, "upstreamConnected": False}
        told = await given(relay, "/status")
        assert (told["status"], told["daemonId"]) == ("disconnected", None)


async def test_the_history_comes_in_pages_with_the_newest_first(here: World) -> None:
    async with here.relay() as relay, daemon(relay.url, "m", most=3) as worker:
        await here.send(*(order(number) for number in range(1, 6)))
        await worker.heard("spawnTask", 3)
        await worker.say(TaskComplete(task_id=UUID(int=1), success=False, error="no"))
        await worker.heard("spawnTask", 4)
        told = await given(relay, "/tasks?limit=2")
        assert {name: told[name] for name in ("total", "limit", "offset")} == {
            "total": 5,
            "limit": 2,
            "offset": 0,
        }
        assert [each["taskName"] for each in told["tasks"]] == ["task 5", "task 4"]
        assert [each["status"] for each in told["tasks"]] == ["pending", "dispatched"]
        (first,) = (await given(relay, "/tasks?limit=50&offset=4"))["tasks"]
        assert all(re.fullmatch(TIME, first.pop(name)) for name in list(first) if "At" in name)
        assert str(UUID(first["daemonId"])) == first.pop("daemonId")
        assert first == {
            "taskId": str(UUID(int=1)),
            "taskName": "task 1",
            "status": "failed",
            "error": "no",
        }


async def test_what_happened_to_connections_is_told(here: World) -> None:
    async with here.relay() as relay:
        await here.upstream()
        async with daemon(relay.url, "m"):
            pass
        async with wire_daemon(relay.url) as stranger:
            await stranger.say("{")
            await stranger.over()
        kinds = set[str]()
        async for _ in attempts(SystemClock(), deadline_s=10, most_s=0.05):
            kinds = {each["event"] for each in (await given(relay, "/logs"))["logs"]}
            if len(kinds) == 4:
                break
        assert kinds == {
            "upstream_connected",
            "daemon_connected",
            "daemon_disconnected",
            "daemon_refused",
        }
        logs = (await given(relay, "/logs?limit=3"))["logs"]
        assert len(logs) == 3
        assert list(logs[0]) == ["timestamp", "event", "message"]


@pytest.mark.parametrize(
    "path",
    [
        *("/tasks?limit=0", "/tasks?limit=501", "/tasks?limit=x", "/tasks?limit="),
        *("/tasks?limit=1.0", "/tasks?offset=-1", "/tasks?limit=1&limit=2"),
        *("/tasks?offset=99999999999", "/tasks?limit=²"),
        *("/logs?limit=201", "/logs?limit=-1", "/logs?limit=%00"),
    ],
)
async def test_a_number_out_of_bounds_is_refused_with_the_bounds(here: World, path: str) -> None:
    async with here.relay() as relay, asked(relay, path) as answer:
        assert answer.status == 400
        error = (await answer.json())["error"]
        assert error["code"] == "bad_request"
        assert re.search(r"(limit|offset): a whole number from \d to \d+", error["message"])


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("POST", "/status", 405), ("GET", "/reconnect", 405)],
)
async def test_every_refusal_is_json(here: World, method: str, path: str, status: int) -> None:
    async with here.relay() as relay, asked(relay, path, method=method) as answer:
        assert answer.status == status
        assert set((await answer.json())["error"]) == {"code", "message"}


async def test_on_this_host_a_page_of_another_site_sees_and_does_nothing(here: World) -> None:
    async with here.relay() as relay:
        for headers in (
            {"Host": "evil.example"},
            {"X-Forwarded-For": "203.0.113.9"},
            {"Host": "evil.example", "Authorization": "Bearer wrong"},
        ):
            async with asked(relay, "/status", headers=headers) as answer:
                assert answer.status == 401
        for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
            async with asked(relay, "/reconnect", method="POST", headers=headers) as answer:
                assert answer.status == 403
        key = {"Host": "relay.example", "Authorization": f"Bearer {KEY}"}
        async with asked(relay, "/status", headers=key) as answer:
            assert answer.status == 200


async def test_on_another_address_all_but_health_takes_a_key(here: World) -> None:
    async with here.relay(bind="0.0.0.0") as everywhere:
        relay = replace(everywhere, endpoint=Endpoint("127.0.0.1", everywhere.endpoint.port))
        for path in ("/", "/status", "/tasks", "/logs", "/metrics", "/openapi.json", "/none"):
            async with asked(relay, path) as answer:
                assert answer.status == 401
                assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        async with asked(relay, "/health") as answer:
            assert answer.status == 200
        async with asked(relay, "/status", headers={"Authorization": f"Bearer {KEY}"}) as answer:
            assert answer.status == 200
        async with daemon(relay.url, "m"):
            pass


async def test_the_figures_are_prometheus_text(here: World) -> None:
    async with here.relay() as relay, asked(relay, "/metrics") as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert "makima_relay_daemons 0.0" in await answer.text()


async def test_no_key_is_logged(here: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with here.relay() as relay, daemon(relay.url, "m") as worker:
        async with asked(relay, "/tasks", headers={"Authorization": f"Bearer {KEY}"}):
            pass
        await worker.settled()
    assert KEY not in caplog.text


def test_only_names_of_this_host_are_its_own() -> None:
    local = ("localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "::1")
    assert all(is_loopback(each) for each in local)
    assert not any(is_loopback(each) for each in ("", "0.0.0.0", "192.0.2.1", "localhost.evil"))
