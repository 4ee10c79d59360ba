from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import pytest

from tachikoma.makima.dashboard.memory import MemoryHost
from tachikoma.makima.dashboard.pages import PLACES, POLICY, dashboard
from tachikoma.makima.dashboard.port import HostVm
from tachikoma.makima.dashboard.requests import shown
from tachikoma.makima.server.front import COOKIE
from tachikoma.model.errors import TachikomaError
from tests.unit.makima.server.stage import Answer, Team, team

pytestmark = pytest.mark.live

VM = HostVm(
    name="tachikoma-app-main",
    branch="main",
    repository="app",
    worktree="/home/ada/app",
    engine="qemu",
    image="debian",
    state="running",
    cpus=2,
    memory_mib=1024,
    disk_bytes=1,
    created_at=None,
    last_used_at=datetime(2026, 11, 21, tzinfo=UTC),
    usage=None,
)


class Counting(MemoryHost):
    asked = 0

    async def vms(self) -> tuple[HostVm, ...]:
        self.asked += 1
        return await super().vms()


@pytest.fixture
def host() -> Counting:
    line = {"time": "2026-11-21T12:00:00+00:00", "verdict": "denied", "host": "h", "vm": "v"}
    recorded = shown(1, line)
    assert recorded is not None
    return Counting(machines=(VM,), recorded=(recorded,))


@pytest.fixture
async def crew(tmp_path: Path, host: Counting) -> AsyncIterator[Team]:
    async with team(tmp_path, add_routes=dashboard(host)) as made:
        yield made


async def signed_in(crew: Team) -> dict[str, str]:
    found = await crew.call("POST", "/session", {"key": crew.user_key}, key=None)
    cookie = SimpleCookie(found.headers["Set-Cookie"])[COOKIE].value
    return {"Cookie": f"{COOKIE}={cookie}"}


async def ask(crew: Team, path: str, headers: dict[str, str] | None = None, **query: str) -> Answer:
    async with crew.client.get(f"{crew.base}{path}", headers=headers, params=query) as answer:
        body: Any = await answer.json() if "json" in answer.content_type else await answer.text()
        return Answer(answer.status, body, answer.headers)


async def test_every_place_is_the_page_for_everybody_and_tells_nothing(crew: Team) -> None:
    for place in PLACES:
        found = await ask(crew, place.format(task="x"))
        assert (found.status, found.headers["Content-Security-Policy"]) == (200, POLICY)
        assert found.headers["X-Frame-Options"] == "DENY"
        assert found.headers["X-Content-Type-Options"] == "nosniff"
    assert (await ask(crew, "/static/../pages.py")).status == 404
    assert (await ask(crew, "/static/%2e%2e/pages.py")).status == 404


async def test_only_who_is_signed_in_sees_the_machine(crew: Team) -> None:
    for path in ("/dashboard/vms", "/dashboard/requests"):
        for headers in (None, {"Cookie": f"{COOKIE}=wrong"}, {"Authorization": crew.daemon_key}):
            found = await ask(crew, path, headers)
            assert (found.status, found.code) == (401, "unauthorized")


async def test_vms_are_told_and_many_who_look_cost_what_one_does(
    crew: Team, host: Counting
) -> None:
    me = await signed_in(crew)
    found = await ask(crew, "/dashboard/vms", me)
    for _ in range(3):
        assert (await ask(crew, "/dashboard/vms", me)).body == found.body
    assert found.body["here"] is True
    assert [each["lastUsedAt"] for each in found.body["items"]] == ["2026-11-21T00:00:00Z"]
    assert host.asked == 1


async def test_requests_are_told_and_wrong_questions_refused(crew: Team) -> None:
    me = await signed_in(crew)
    found = await ask(crew, "/dashboard/requests", me, denied="true", vm="v", limit="5")
    assert [each["host"] for each in found.body["items"]] == ["h"]
    assert found.body["deniedHosts"] == [{"host": "h", "count": 1}]
    for query in ({"limit": "0"}, {"denied": "yes"}, {"frob": "1"}):
        assert (await ask(crew, "/dashboard/requests", me, **query)).status == 422


async def test_a_machine_that_cannot_tell_is_no_fault_of_the_server(
    crew: Team, host: Counting
) -> None:
    me = await signed_in(crew)
    host.fault = TachikomaError("qemu is missing", hint="install qemu")
    found = await ask(crew, "/dashboard/vms", me)
    assert (found.status, found.body["error"]["hint"]) == (503, "install qemu")


async def test_without_a_machine_the_pages_are_told_so(tmp_path: Path) -> None:
    async with team(tmp_path, add_routes=dashboard()) as crew:
        me = await signed_in(crew)
        assert (await ask(crew, "/dashboard/vms", me)).body == {
            "here": False,
            "hostname": "",
            "items": [],
        }
        assert (await ask(crew, "/dashboard/requests", me)).body["here"] is False
