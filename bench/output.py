"""What an agent prints on its way to the server: through the daemon's book and link, and bare.

As a program (``python -m bench.output PORT``) the server of both: at ``/echo`` it sends back what
comes, at ``/ws/daemon`` it lets a daemon in and takes what it says.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

from aiohttp import WSMsgType, web

from bench.figure import Figure, free_port, ratio
from bench.loopback import beside
from tachikoma.host.process import run
from tachikoma.makima.commands import Authenticated
from tachikoma.makima.wire import encode

_MEGABYTES = 50
_MUCH_MEGABYTES = 400
_RUNS = 3
_DEADLINE_S = 300.0


async def figures() -> AsyncIterator[Figure]:
    """Measure the rate, then the memory that much output takes."""
    port = free_port()
    server = [sys.executable, "-m", "bench.output", str(port)]
    with tempfile.TemporaryDirectory() as place:
        home = Path(place)
        count = iter(range(1_000))

        async def push(url: str, *words: str, megabytes: int = _MEGABYTES) -> dict[str, float]:
            argv = [sys.executable, "-m", "bench.pushing", *words]
            argv += [f"ws://127.0.0.1:{port}{url}", str(home / f"{next(count)}.db")]
            done = await run([*argv, str(megabytes)], deadline_s=_DEADLINE_S)
            told: dict[str, float] = json.loads(done.stdout)
            return told

        async def daemon() -> float:
            told = await push("/ws/daemon")
            return told["bytes"] / told["seconds"]

        async def echo() -> float:
            told = await push("/echo", "--bare")
            return told["bytes"] / told["seconds"]

        async with beside(server, log=home / "server.log", port=port):
            yield await ratio("daemon_output/echo", daemon, echo, runs=_RUNS, words=_rate)
            idle = await push("/ws/daemon", megabytes=1)
            much = await push("/ws/daemon", megabytes=_MUCH_MEGABYTES)
            yield Figure(
                "daemon_output_memory_mb",
                much["memory"] / 1e6,
                f"at most, while 4 tasks print 100 MB each in {much['seconds']:.1f} s;"
                f" {idle['memory'] / 1e6:.0f} MB while they print next to nothing",
            )


def _rate(bytes_each_s: float) -> str:
    return f"{bytes_each_s / 1e6:.0f} MB/s"


async def _take(request: web.Request) -> web.WebSocketResponse:
    channel = web.WebSocketResponse()
    await channel.prepare(request)
    await channel.receive()
    await channel.send_str(encode(Authenticated(daemon_id=uuid4())))
    async for _ in channel:
        pass
    return channel


async def _echo(request: web.Request) -> web.WebSocketResponse:
    channel = web.WebSocketResponse()
    await channel.prepare(request)
    async for message in channel:
        if message.type is WSMsgType.TEXT:
            await channel.send_str(message.data)
    return channel


async def _serve(port: int) -> None:
    app = web.Application()
    app.router.add_get("/ws/daemon", _take)
    app.router.add_get("/echo", _echo)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
