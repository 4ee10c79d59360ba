"""How long the first byte of an answer takes through the proxy, against asking directly.

The proxy and the scripted API are processes of their own, as in use; the client is this one. A
request is as large as those of Claude Code.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp

from bench.figure import Figure, ratio
from bench.loopback import proxy_to
from tachikoma.host.clock import SystemClock, attempts
from tachikoma.host.process import detach, end_process, start_time

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
        async with (
            asyncio.timeout(_DEADLINE_S),
            _api(Path(home) / "api.log") as api,
            proxy_to(api, Path(home)) as proxy,
            aiohttp.ClientSession() as session,
        ):
            name = "proxy_first_byte/direct"
            through = _request(session, proxy.url, proxy.tokens[0])
            direct = _request(session, api, proxy.tokens[0])
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
