"""The proxy between a client and the API (scripted, on loopback)."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tachikoma.credentials.memory import MemorySource
from tachikoma.credentials.port import Credential, Kind
from tachikoma.credentials.waterfall import Waterfall
from tachikoma.host.clock import SystemClock
from tachikoma.model.names import VmName
from tachikoma.model.vm import Endpoint
from tachikoma.proxy.api import Api as ApiCalls
from tachikoma.proxy.conversation import Limits, Parts
from tachikoma.proxy.egress import Address
from tachikoma.proxy.groups import Groups
from tachikoma.proxy.ledger import RequestLedger
from tachikoma.proxy.policies import Policies
from tachikoma.proxy.route import token_hash
from tachikoma.proxy.server import ProxyServer
from tachikoma.proxy.spending import Spending
from tachikoma.proxy.tenants import TenantBook
from tachikoma.proxy.upstream import Upstream
from tachikoma.proxy.usage import UsageBook
from tachikoma.state.json_file import JsonFileStore
from tachikoma.state.port import VmRecord

TOKEN = "sk-ant-tachikoma-0123456789abcdef"
SECRET = "sk-ant-api03-the-real-one"
API_KEY = Credential(Kind.API_KEY, SECRET, "test")
OAUTH = Credential(Kind.OAUTH, "sk-ant-oat01-the-real-one", "test")
PATIENCE_S = 30.0

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


async def say_ok(request: web.BaseRequest) -> web.StreamResponse:
    await request.read()
    return web.Response(text="ok")


@dataclass
class Api:
    """The scripted API: does what ``handler`` says and keeps the heads that it saw."""

    handler: Handler = say_ok
    heads: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    base: str = ""

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        headers = {name.decode(): value.decode() for name, value in request.raw_headers}
        self.heads.append((request.method, request.raw_path, headers))
        return await self.handler(request)


@dataclass
class World:
    """The proxy between a client and the scripted API."""

    api: Api
    proxy: ProxyServer
    client: aiohttp.ClientSession
    source: MemorySource
    store: JsonFileStore
    requests: Path
    names: dict[str, list[Address]]
    settings: Path

    @property
    def url(self) -> str:
        return f"http://{self.proxy.endpoint}"

    def messages(self, **more: Any) -> Any:
        more.setdefault("headers", {"x-api-key": TOKEN})
        return self.client.post(f"{self.url}/v1/messages?beta=true", **more)

    async def line(self, number: int = 0) -> dict[str, Any]:
        """Give a line of the ledger; it is written a moment after the answer has gone."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                with contextlib.suppress(OSError, IndexError):
                    told: dict[str, Any] = json.loads(
                        self.requests.read_bytes().splitlines()[number]
                    )
                    return told
                await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def listening(handler: Handler) -> AsyncIterator[str]:
    server = web.Server(handler, handler_cancellation=True, auto_decompress=False, access_log=None)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    finally:
        listener.close()
        await server.shutdown(0.2)


@contextlib.asynccontextmanager
async def the_world(
    tmp_path: Path,
    *,
    base: str | None = None,
    limits: Limits | None = None,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> AsyncIterator[World]:
    clock = SystemClock()
    state = tmp_path / "state.json"
    store = JsonFileStore(file=state, locks=tmp_path / "locks", clock=clock)
    with store.edit() as ledger:
        ledger.put(record())
    source = MemorySource(credential=API_KEY)
    api = Api()
    requests = tmp_path / "logs" / "requests.jsonl"
    book = UsageBook(tmp_path / "usage.sqlite")
    names: dict[str, list[Address]] = {}
    async with contextlib.AsyncExitStack() as stack:
        if base is None:
            base = await stack.enter_async_context(listening(api.answer))
        api.base = base
        upstream = await stack.enter_async_context(Upstream(base=api.base, environment=environment))
        spending = Spending(book)
        policies = Policies(
            upstream=api.base,
            settings_file=tmp_path / "config.toml",
            tenants=TenantBook(store=store, file=state),
            spending=spending,
            groups=Groups(environment={}, home=tmp_path, root=tmp_path),
            applied=lambda _settings: None,
        )
        waterfall = Waterfall(sources=[source], ttl_s=300, clock=clock)
        calls = ApiCalls(credentials=waterfall, upstream=upstream, clock=clock, spent=spending.add)
        parts = Parts(
            policy=policies.current,
            outward=policies.outward,
            api=calls,
            resolve=lambda host: _resolved(names, host),
            ledger=stack.enter_context(RequestLedger(file=requests, usage=book)),
            clock=clock,
            on_health=_nothing,
            limits=limits or Limits(),
        )
        proxy = ProxyServer(
            endpoint=Endpoint("127.0.0.1", 0), instance="0123abcd", drain_s=0.2, parts=parts
        )
        await stack.enter_async_context(proxy)
        client = await stack.enter_async_context(aiohttp.ClientSession())
        yield World(api, proxy, client, source, store, requests, names, tmp_path / "config.toml")


async def _resolved(names: dict[str, list[Address]], host: str) -> list[Address]:
    """The name system of the tests."""
    if host not in names:
        raise OSError(f"{host}: no such name")
    return names[host]


async def _nothing() -> None:
    pass


def record() -> VmRecord:
    return VmRecord(
        name=VmName("tachikoma-repo-main"),
        repository=Path("/repo/.git"),
        repository_name="repo",
        branch="main",
        worktree=Path("/repo"),
        engine="synthetic",
        image="none",
        created=1.0,
        last_used=1.0,
        token_hashes=(token_hash(TOKEN),),
    )


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with the_world(tmp_path) as made:
        yield made
