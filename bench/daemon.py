"""What four agents print at the same time, on its way through a whole daemon to its server.

As a program (``python -m bench.daemon PORT``) the server: it gives a daemon four tasks, and
``/result`` answers when all that they printed has come and they are complete. ``/echo`` sends back
what comes.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from uuid import uuid4

import aiohttp
from aiohttp import WSMsgType, web

from bench.figure import Figure, free_port, ratio
from bench.loopback import beside, most_resident_bytes
from bench.printer import line
from tachikoma.host.process import run
from tachikoma.makima.commands import Authenticated, SpawnTask
from tachikoma.makima.messages import TaskOutput
from tachikoma.makima.wire import encode

ROOT = Path(__file__).resolve().parent.parent
_TASKS = 4
_MEGABYTES = 25
_MUCH_MEGABYTES = 100
_RUNS = 3
_DEADLINE_S = 300.0
_WHO = {
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
}


async def figures() -> AsyncIterator[Figure]:
    """Measure the rate, then the memory that much output takes."""
    port = free_port()
    with tempfile.TemporaryDirectory() as place:
        home = Path(place)
        origin = await _repository(home / "app")
        server = [sys.executable, "-m", "bench.daemon", str(port), str(origin)]

        async def daemon() -> float:
            told = await _printed(home, port, _MEGABYTES)
            return told["bytes"] / told["seconds"]

        async def echo() -> float:
            return await _echoed(port, _TASKS * _MEGABYTES * 1_000_000 // len(line()))

        async with beside(server, log=home / "server.log", port=port):
            yield await ratio("daemon_tasks/echo", daemon, echo, runs=_RUNS, words=_rate)
            idle = await _printed(home, port, 1)
            much = await _printed(home, port, _MUCH_MEGABYTES)
            yield Figure(
                "daemon_tasks_memory_mb",
                much["memory"] / 1e6,
                f"of the whole daemon at most, while {_TASKS} agents print {_MUCH_MEGABYTES} MB"
                f" each in {much['seconds']:.1f} s, lines of {len(line())} bytes;"
                f" {idle['memory'] / 1e6:.0f} MB while they print next to nothing",
            )


def _rate(bytes_each_s: float) -> str:
    return f"{bytes_each_s / 1e6:.1f} MB/s"


async def _repository(path: Path) -> Path:
    path.mkdir()
    for words in (["init", "-q", "-b", "main"], ["commit", "-q", "--allow-empty", "-m", "First"]):
        await run(["git", *words], deadline_s=30.0, cwd=path, env=_WHO)
    return path


async def _printed(home: Path, port: int, megabytes: int) -> Mapping[str, float]:
    """Let a new daemon's agents print; give the bytes, the seconds, and the daemon's memory."""
    with tempfile.TemporaryDirectory(dir=home) as own:
        program = Path(own) / "claude"
        printer = f"PYTHONPATH={ROOT} exec {sys.executable} -m bench.printer {megabytes}"
        program.write_text(f"#!/bin/sh\n{printer}\n", encoding="utf-8")
        program.chmod(0o755)
        environ = {
            **_WHO,
            "HOME": own,
            "MAKIMA_API_KEY": "mk-bench",
            "MAKIMA_DAEMON_SERVER_URL": f"ws://127.0.0.1:{port}",
            "MAKIMA_DAEMON_PROCESS_ISOLATION": "worktree",
            "MAKIMA_DAEMON_PROCESS_CLAUDECOMMAND": str(program),
        }
        argv = [sys.executable, "-m", "tachikoma", "makima", "daemon"]
        log = Path(own) / "daemon.log"
        async with (
            aiohttp.ClientSession() as client,
            beside(argv, log=log, port=port, environ=environ) as daemon,
            client.get(f"http://127.0.0.1:{port}/result", timeout=_timeout()) as answer,
        ):
            told: dict[str, float] = await answer.json()
            return {**told, "memory": most_resident_bytes(daemon)}


async def _echoed(port: int, frames: int) -> float:
    """Give the rate at which a bare WebSocket's frames of one line each come back."""
    text = encode(TaskOutput(task_id=uuid4(), output=line(), is_partial=False))
    async with (
        aiohttp.ClientSession() as client,
        client.ws_connect(f"http://127.0.0.1:{port}/echo") as channel,
    ):

        async def back() -> None:
            for _ in range(frames):
                await channel.receive()

        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            group.create_task(back())
            for _ in range(frames):
                await channel.send_str(text)
        return frames * len(line()) / (time.monotonic() - began)


def _timeout() -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=_DEADLINE_S)


class _Server:
    """Counts what comes of four tasks; the clock runs from the first line to the last."""

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._done = asyncio.Event()
        self._told: dict[str, float] = {}

    async def daemon(self, request: web.Request) -> web.WebSocketResponse:
        channel = web.WebSocketResponse()
        await channel.prepare(request)
        await channel.receive()
        await channel.send_str(encode(Authenticated(daemon_id=uuid4())))
        for _ in range(_TASKS):
            order = SpawnTask(
                task_id=uuid4(),
                plan="Print.",
                depth=0,
                is_orchestrator=False,
                repo_url=self._origin,
            )
            await channel.send_str(encode(order))
        first = last = 0.0
        size = complete = 0
        overhead = len(encode(TaskOutput(task_id=uuid4(), output="", is_partial=False)))
        async for message in channel:
            if message.data.startswith('{"type":"taskOutput"'):
                last = time.monotonic()
                first = first or last
                size += len(message.data) - overhead
            elif message.data.startswith('{"type":"taskComplete"'):
                assert json.loads(message.data)["success"], message.data
                complete += 1
            if complete == _TASKS:
                complete = 0
                self._told = {"bytes": size, "seconds": last - first}
                self._done.set()
        return channel

    async def result(self, _request: web.Request) -> web.Response:
        await self._done.wait()
        self._done.clear()
        return web.json_response(self._told)


async def _echo(request: web.Request) -> web.WebSocketResponse:
    channel = web.WebSocketResponse()
    await channel.prepare(request)
    async for message in channel:
        if message.type is WSMsgType.TEXT:
            await channel.send_str(message.data)
    return channel


async def _serve(port: int, origin: str) -> None:
    server = _Server(origin)
    app = web.Application()
    app.router.add_get("/ws/daemon", server.daemon)
    app.router.add_get("/result", server.result)
    app.router.add_get("/echo", _echo)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), sys.argv[2]))
