"""How long the first byte of an answer takes through the proxy, against asking directly.

The proxy and the scripted API are processes of their own, as in use; the client is this one. A
request is as large as those of Claude Code.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp

from bench.figure import Figure, free_port, ratio
from tachikoma.host.clock import SystemClock, attempts
from tachikoma.host.environ import for_child
from tachikoma.host.paths import paths_from, private_dir
from tachikoma.host.process import detach, end_process, start_time
from tachikoma.model.events import silent
from tachikoma.model.names import VmName
from tachikoma.model.vm import Endpoint
from tachikoma.proxy.control import ProxyControl
from tachikoma.proxy.plan import Plan
from tachikoma.proxy.route import token_hash
from tachikoma.state.json_file import JsonFileStore
from tachikoma.state.port import VmRecord

_RUNS = 300
_WARM_UP = 20
_DEADLINE_S = 60.0
_BODY = json.dumps(
    {
        "model": "bench",
        "stream": True,
        "messages": [{"role": "user", "content": "x" * 76_000}],
    }
).encode()


async def figures() -> AsyncIterator[Figure]:
    """Measure the first byte of a streamed answer."""
    with tempfile.TemporaryDirectory() as home:
        token = secrets.token_urlsafe(32)
        async with (
            asyncio.timeout(_DEADLINE_S),
            _api(Path(home) / "api.log") as api,
            _proxy(Path(home), api, token) as proxy,
            aiohttp.ClientSession() as session,
        ):
            name = "proxy_first_byte/direct"
            through = _request(session, proxy, token)
            direct = _request(session, api, token)
            yield await ratio(name, through, direct, runs=_RUNS, warm_up=_WARM_UP)


@contextlib.asynccontextmanager
async def _api(log: Path) -> AsyncIterator[str]:
    """The scripted API. It tells of each request: into a file, because a pipe would fill up."""
    pid = detach([sys.executable, "-m", "tachikoma.offline"], log=log)
    started = start_time(pid)
    try:
        async for _ in attempts(SystemClock(), deadline_s=_DEADLINE_S):
            address, newline, _rest = log.read_text(encoding="utf-8").partition("\n")
            if newline:
                yield json.loads(address)["address"]
                return
    finally:
        end_process(pid, started=started)


@contextlib.asynccontextmanager
async def _proxy(home: Path, api: str, token: str) -> AsyncIterator[str]:
    environ = for_child({"HOME": str(home), "ANTHROPIC_BASE_URL": api, "ANTHROPIC_API_KEY": "real"})
    environ = {name: value for name, value in environ.items() if not name.startswith("XDG_")}
    paths, clock = paths_from(environ), SystemClock()
    private_dir(paths.config)
    with JsonFileStore(file=paths.state_file, locks=paths.locks, clock=clock).edit() as ledger:
        ledger.put(_record(home, token))
    endpoint = Endpoint("127.0.0.1", free_port())
    control = ProxyControl(
        plan=Plan(endpoint=endpoint, paths=paths, environment=environ, ttl_s=300), clock=clock
    )
    await control.ensure(silent)
    try:
        yield f"http://{endpoint}"
    finally:
        await control.stop()


def _record(home: Path, token: str) -> VmRecord:
    return VmRecord(
        name=VmName("tachikoma-bench-main"),
        repository=home,
        repository_name="bench",
        branch="main",
        worktree=home,
        engine="none",
        image="none",
        created=0.0,
        last_used=0.0,
        token_hashes=(token_hash(token),),
    )


def _request(
    session: aiohttp.ClientSession, url: str, token: str
) -> Callable[[], Awaitable[float]]:
    headers = {"x-api-key": token, "anthropic-version": "2023-06-01"}

    async def once() -> float:
        began = time.perf_counter()
        async with session.post(f"{url}/v1/messages", data=_BODY, headers=headers) as response:
            assert await response.content.read(1)
            took = time.perf_counter() - began
            assert response.status == 200
            await response.read()
            return took

    return once
