from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tachikoma.host.clock import SystemClock
from tachikoma.makima.client.account import Account
from tachikoma.makima.client.calls import ServerCalls, StreamEvent
from tachikoma.makima.server.store import keyring_at
from tests.unit.makima.server.stage import Team, team

pytestmark = pytest.mark.live


@pytest.fixture
async def crew(tmp_path: Path) -> AsyncIterator[Team]:
    async with team(tmp_path) as made:
        yield made


@asynccontextmanager
async def reading(crew: Team, path: str, after: int | None = None) -> AsyncIterator[Any]:
    """Read a stream as a browser does: gives a function that gives the next event's lines."""
    headers = {"Authorization": f"Bearer {crew.user_key}"}
    if after is not None:
        headers["Last-Event-ID"] = str(after)
    async with crew.client.get(f"{crew.base}/api/v1{path}", headers=headers) as answer:
        assert answer.status == 200
        assert answer.content_type == "text/event-stream"

        async def following() -> dict[str, str]:
            found: dict[str, str] = {}
            async with asyncio.timeout(10):
                while True:
                    line = (await answer.content.readline()).decode().rstrip("\n")
                    if line.startswith(":"):
                        found["comment"] = line
                    elif line:
                        name, _, value = line.partition(": ")
                        found[name] = value
                    elif found.get("data") or found.get("comment"):
                        return found
                    elif answer.content.at_eof():
                        return {"over": ""}

        yield following


async def test_who_listens_hears_of_every_change_and_how_it_stands(crew: Team) -> None:
    import json

    async with reading(crew, "/events") as following:
        assert (await following())["event"] == "hello"
        task = await crew.create("listen")
        came = await following()
        data = json.loads(came["data"])
        assert (came["event"], data["what"], data["text"]) == ("task", "created", "listen")
        assert data["task"]["id"] == task["id"]
        assert data["task"]["version"] == int(came["id"])
        await crew.daemon()
        came = await following()
        data = json.loads(came["data"])
        assert (came["event"], data["what"]) == ("daemon", "connected")
        assert data["daemon"]["connected"] is True


async def test_who_comes_again_misses_nothing(crew: Team) -> None:
    import json

    first = await crew.create("one")
    await crew.create("two")
    async with reading(crew, "/events", after=first["version"]) as following:
        assert "comment" in await following()
        assert json.loads((await following())["data"])["task"]["name"] == "two"


async def test_who_was_away_for_too_long_is_told_to_look_anew(crew: Team) -> None:
    from contextlib import closing
    from sqlite3 import connect

    for name in ("one", "two", "three"):
        await crew.create(name)
    with closing(connect(crew.database)) as connection, connection:
        connection.execute("DELETE FROM events WHERE id <= 2")
    async with reading(crew, "/events", after=1) as following:
        assert (await following())["event"] == "reset"
    async with reading(crew, "/events", after=10_000) as following:
        assert (await following())["event"] == "hello"


async def test_output_is_streamed_to_its_end_and_taken_up_where_it_was(crew: Team) -> None:
    daemon = await crew.daemon()
    task = (await crew.create())["id"]
    await daemon.spawned()
    await daemon.runs(task)
    account = Account(crew.base, crew.user_key)
    async with ServerCalls(account, clock=SystemClock()) as calls:
        events = calls.stream(f"/tasks/{task}/output/stream", after=0)
        assert isinstance(events, AsyncIterator)
        async with aclosing(events) as open_events:  # type: ignore[type-var]  # a generator
            await daemon.prints(task, "a" * 300_000)
            first = await anext(open_events)
            assert (first.kind, first.id, len(first.data["text"])) == ("output", 1, 300_000)
            await daemon.prints(task, "b", partial=True)
            await daemon.ends(task)
            rest = [each async for each in open_events]
        assert [(each.kind, each.id) for each in rest] == [("output", 2), ("end", None)]
        assert rest[-1].data == {"status": "done", "error": ""}
        again: list[StreamEvent] = [
            each async for each in calls.stream(f"/tasks/{task}/output/stream", after=1)
        ]
        assert [each.id for each in again] == [2, None]


async def test_a_quiet_stream_says_that_it_is_there(tmp_path: Path) -> None:
    async with team(tmp_path, beat_s=0.05) as crew:
        task = (await crew.create())["id"]
        async with reading(crew, f"/tasks/{task}/output/stream") as following:
            assert await following() == {"comment": ": here"}
            assert await following() == {"comment": ": "}


async def test_a_stream_ends_with_the_key_that_opened_it(tmp_path: Path) -> None:
    async with team(tmp_path, beat_s=0.05) as crew, reading(crew, "/events") as following:
        assert (await following())["event"] == "hello"
        async with keyring_at(crew.database, clock=SystemClock()) as keys:
            for each in await keys.keys():
                await keys.revoke(each.name)
        while "over" not in await following():
            pass


async def test_a_server_that_stops_ends_its_streams(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        crew = await stack.enter_async_context(team(tmp_path))
        following = await stack.enter_async_context(reading(crew, "/events"))
        assert (await following())["event"] == "hello"
        waiting = asyncio.create_task(following())
        before = asyncio.get_running_loop().time()
        await crew.stop()
        assert await waiting == {"over": ""}
        assert asyncio.get_running_loop().time() - before < 3
