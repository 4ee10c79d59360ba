"""A server on loopback with a team's keys, for tests that call it as people and daemons do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aiohttp

from tachikoma.host.clock import Clock, SystemClock
from tachikoma.makima.messages import (
    Heartbeat,
    Message,
    TaskComplete,
    TaskOutput,
    TaskStatusChange,
)
from tachikoma.makima.server.app import AddRoutes, ServerPlan, serving
from tachikoma.makima.server.keyring import Keyring
from tachikoma.makima.server.shapes import KeyKind
from tachikoma.makima.server.store import keyring_at
from tests.doubles.makima_daemon import Frame, WireDaemon, wire_daemon

WAIT_S = 10.0
Json = dict[str, Any]


class QuickClock(SystemClock):
    """Fifty seconds in one."""

    def monotonic(self) -> float:
        return super().monotonic() * 50

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds / 50)


@dataclass
class Answer:
    """What came back."""

    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def code(self) -> str:
        return str(self.body["error"]["code"])


@dataclass
class Team:
    """The server at ``base`` and who has keys for it."""

    base: str
    user_key: str
    daemon_key: str
    client: aiohttp.ClientSession
    database: Path
    stack: AsyncExitStack = field(repr=False)
    stop: Callable[[], Awaitable[None]] = field(repr=False)

    @property
    def socket(self) -> str:
        return f"{self.base.replace('http', 'ws', 1)}/ws/daemon"

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        key: str | None = "",
        headers: Mapping[str, str] | None = None,
        **query: Any,
    ) -> Answer:
        """Call the API; with the user's key unless another one, or None, is given."""
        sent = dict(headers or {})
        secret = self.user_key if key == "" else key
        if secret is not None:
            sent["Authorization"] = f"Bearer {secret}"
        place = (
            path if path.startswith(("/api", "/health", "/metrics", "/open")) else f"/api/v1{path}"
        )
        async with self.client.request(
            method, f"{self.base}{place}", json=body, headers=sent, params=query
        ) as answer:
            text = await answer.text()
            is_json = answer.content_type == "application/json"
            return Answer(answer.status, json.loads(text) if is_json else text, answer.headers)

    async def get(self, path: str, **query: Any) -> Any:
        found = await self.call("GET", path, **query)
        assert found.status == 200, found
        return found.body

    async def post(self, path: str, body: object = None, *, key: str = "") -> Any:
        found = await self.call("POST", path, body, key=key)
        assert found.status in {200, 201}, found
        return found.body

    async def create(self, plan: str = "do it", *, key: str = "", **more: Any) -> Json:
        made: Json = await self.post("/tasks", {"plan": plan, **more}, key=key)
        return made

    async def until(self, task: str, **wanted: object) -> Json:
        """Wait until the fields of a task are as wanted."""
        async with asyncio.timeout(WAIT_S):
            while True:
                found: Json = await self.get(f"/tasks/{task}")
                if all(found[name] == value for name, value in wanted.items()):
                    return found
                await asyncio.sleep(0.01)

    async def daemon(self, *, machine: str = "m1", most: int = 4) -> FakeDaemon:
        """Let a daemon connect."""
        wire = await self.stack.enter_async_context(wire_daemon(self.socket))
        id_ = await wire.authenticate(
            self.daemon_key, machine, most=most, hostname=f"host-{machine}"
        )
        return FakeDaemon(wire, id_)


@dataclass
class FakeDaemon:
    """Speaks as a daemon does."""

    wire: WireDaemon
    id: UUID
    seq: int = 0

    async def say(self, *messages: Message) -> None:
        for each in messages:
            self.seq += 1
            await self.wire.say(each, seq=self.seq)

    async def beat(self, *active: str | UUID) -> None:
        await self.wire.say(Heartbeat(active_tasks=tuple(UUID(str(each)) for each in active)))
        await self.wire.settled()

    async def spawned(self, count: int = 1) -> Frame:
        """Wait for the ``count``-th task."""
        return (await self.wire.heard("spawnTask", count))[count - 1]

    async def runs(self, task: str | UUID) -> None:
        await self.status(task, "pending", "initializing")
        await self.status(task, "initializing", "running")

    async def status(self, task: str | UUID, old: str, new: str) -> None:
        await self.say(TaskStatusChange(task_id=UUID(str(task)), old_status=old, new_status=new))

    async def prints(self, task: str | UUID, *lines: str, partial: bool = False) -> None:
        await self.say(
            *(
                TaskOutput(task_id=UUID(str(task)), output=line, is_partial=partial)
                for line in lines
            )
        )

    async def ends(
        self, task: str | UUID, *, success: bool = True, error: str | None = None
    ) -> None:
        await self.status(task, "running", "done" if success else "failed")
        await self.say(TaskComplete(task_id=UUID(str(task)), success=success, error=error))


@asynccontextmanager
async def team(
    directory: Path,
    *,
    clock: Clock | None = None,
    grace_s: float = 120.0,
    beat_s: float = 15.0,
    add_routes: AddRoutes | None = None,
) -> AsyncIterator[Team]:
    """Run a server for a team."""
    database = directory / "server.db"
    clock = clock or SystemClock()
    async with keyring_at(database, clock=clock) as keys:
        user, daemon = await made(keys)
    plan = ServerPlan(bind="127.0.0.1", port=0, database=database, grace_s=grace_s, beat_s=beat_s)
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        )
        server = await stack.enter_async_context(AsyncExitStack())
        endpoint = await server.enter_async_context(
            serving(plan, clock=clock, add_routes=add_routes)
        )
        async with AsyncExitStack() as daemons:
            yield Team(f"http://{endpoint}", user, daemon, client, database, daemons, server.aclose)


async def made(keys: Keyring) -> tuple[str, str]:
    """Make a key for a person and one for daemons, by names that are free."""
    name = uuid4().hex
    return (
        await keys.create(f"ada-{name}", KeyKind.USER),
        await keys.create(f"machines-{name}", KeyKind.DAEMON),
    )
