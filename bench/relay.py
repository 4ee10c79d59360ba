"""``python -m bench.relay [DAEMONS [TASKS_A_SECOND [SECONDS]]]``: one relay under a big load.

A thousand daemons and 200 tasks a second for a minute by default, over loopback, each side in
processes of its own. Every task must come to its end with its messages in order, none lost and none
twice; how long it took from the server to a daemon, and what the relay took of the machine, is
printed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import uvloop
from aiohttp import web

from bench.figure import Figure, free_port, ratio
from bench.loopback import beside, cpu_s, resident_bytes
from tachikoma.host.clock import SystemClock, attempts
from tachikoma.makima.commands import Authenticated, SpawnTask
from tachikoma.makima.wire import encode

_SLACK_S = 60.0
_KEY = "bench"
_IN_ORDER = ["taskStatusChange", "taskOutput", "taskComplete"]
_BURST, _BURSTS = 4000, 4
_RUNS = 5


@dataclass
class Server:
    """The server's side: one connection, the relay's; counts what comes."""

    url: str
    heard: dict[str, list[str]] = field(default_factory=dict)
    took_ms: list[float] = field(default_factory=list)
    ended: int = 0
    messages: int = 0
    last_seq: int = 0
    channel: web.WebSocketResponse | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """Let the relay in, and hear it."""
        channel = web.WebSocketResponse(compress=False, max_msg_size=0)
        await channel.prepare(request)
        await channel.receive()
        welcome = Authenticated(daemon_id=uuid.uuid4(), last_seq=self.last_seq)
        await channel.send_str(encode(welcome))
        self.channel = channel
        self.changed.set()
        async for message in channel:
            self.hear(json.loads(message.data))
        return channel

    def hear(self, frame: dict[str, object]) -> None:
        """Count a frame."""
        task, kind = frame.get("taskId"), str(frame["type"])
        if task is None:
            return
        self.messages += 1
        self.last_seq = int(str(frame.get("seq", 0))) or self.last_seq
        told = self.heard.setdefault(str(task), [])
        if not told or told[-1] != kind:
            told.append(kind)
        if kind == "taskOutput":
            output = str(frame["output"]).split()
            if output[0].isdigit() and len(output) == 2 and output[1].isdigit():
                self.took_ms.append((int(output[1]) - int(output[0])) / 1e6)
        elif kind == "taskComplete":
            self.ended += 1
            self.changed.set()

    async def until(self, ended: int) -> None:
        """Wait until so many tasks have ended."""
        async with asyncio.timeout(_SLACK_S):
            while self.ended < ended:
                self.changed.clear()
                await self.changed.wait()

    async def connected(self) -> None:
        """Wait for the relay."""
        async with asyncio.timeout(_SLACK_S):
            while self.channel is None:
                self.changed.clear()
                await self.changed.wait()

    async def spawn(self, plan: str) -> None:
        """Send a task."""
        assert self.channel is not None
        order = SpawnTask(
            task_id=uuid.uuid4(), plan=plan, task_name="bench", depth=0, is_orchestrator=False
        )
        await self.channel.send_str(encode(order))


@dataclass(frozen=True, slots=True)
class Stage:
    """A server with a relay behind it."""

    server: Server
    url: str
    pid: int


@contextlib.asynccontextmanager
async def server() -> AsyncIterator[Server]:
    """A server in this process."""
    made = Server("")
    app = web.Application()
    app.router.add_get("/ws/daemon", made.serve)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        made.url = f"ws://127.0.0.1:{runner.addresses[0][1]}/ws/daemon"
        yield made
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def stage(place: Path, *, bare: bool = False) -> AsyncIterator[Stage]:
    """A server, and a relay in a process of its own; ``bare`` is one that passes bytes on."""
    port = free_port()
    async with server() as upstream:
        environ = {"MAKIMA_SERVER_URL": upstream.url, "MAKIMA_API_KEY": _KEY}
        tachikoma = str(Path(sys.executable).with_name("tachikoma"))
        argv = [tachikoma, "makima", "relay", "--port", str(port), "--db", str(place / "relay.db")]
        if bare:
            argv = [sys.executable, "-m", "bench.relay_bare", str(port), upstream.url, str(_BURSTS)]
        log = place / "relay.log"
        async with beside(argv, log=log, port=port, environ=environ) as pid:
            await upstream.connected()
            yield Stage(upstream, f"ws://127.0.0.1:{port}/ws/daemon", pid)


@contextlib.asynccontextmanager
async def fleet(on: Stage, place: Path, *, daemons: int, processes: int) -> AsyncIterator[None]:
    """Daemons in processes of their own; begins when all are connected."""
    async with contextlib.AsyncExitStack() as stack:
        for number in range(processes):
            share = daemons // processes + (number < daemons % processes)
            argv = [sys.executable, "-m", "bench.relay_fleet", on.url, _KEY, str(share)]
            name = f"fleet-{number}"
            log = place / f"{name}.log"
            await stack.enter_async_context(beside([*argv, name], log=log, port=None))
        yield


async def all_there(on: Stage, daemons: int) -> None:
    """Wait until so many daemons are connected to a relay."""
    status = on.url.replace("ws:", "http:").removesuffix("/ws/daemon") + "/status"
    async with aiohttp.ClientSession() as client:
        async for left in attempts(SystemClock(), deadline_s=_SLACK_S):
            assert left, "the daemons did not connect in time"
            async with client.get(status) as answer:
                if (await answer.json())["connectedDaemons"] == daemons:
                    return


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a load."""

    tasks: int
    ended: int
    in_order: int
    p50_ms: float
    p99_ms: float
    cpu_s: float
    bytes_: int
    seconds: float


async def load(on: Stage, *, rate: float, seconds: float) -> Outcome:
    """Send tasks at an even pace, and wait until all have ended."""
    upstream, tasks = on.server, int(rate * seconds)
    cpu, began = cpu_s(on.pid), time.monotonic()
    for number in range(tasks):
        ahead = began + number / rate - time.monotonic()
        if ahead > 0:
            await asyncio.sleep(ahead)
        await upstream.spawn(f"echo {time.monotonic_ns()}")
    await upstream.until(tasks)
    percentiles = statistics.quantiles(upstream.took_ms, n=100)
    return Outcome(
        tasks=tasks,
        ended=upstream.ended,
        in_order=sum(told == _IN_ORDER for told in upstream.heard.values()),
        p50_ms=percentiles[49],
        p99_ms=percentiles[98],
        cpu_s=cpu_s(on.pid) - cpu,
        bytes_=resident_bytes(on.pid),
        seconds=time.monotonic() - began,
    )


async def burst(on: Stage) -> float:
    """Let daemons say much at once; gives the seconds until the server has heard all of it."""
    before, ended, began = on.server.messages, on.server.ended, time.perf_counter()
    for _ in range(_BURSTS):
        await on.server.spawn(f"burst {_BURST}")
    await on.server.until(ended + _BURSTS)
    took = time.perf_counter() - began
    expected = _BURSTS * (_BURST + 2)
    assert on.server.messages - before == expected, "a message was lost, or came twice"
    return took


async def figures() -> AsyncIterator[Figure]:
    """Measure what a relay adds: time to a task, and work to each message."""
    with tempfile.TemporaryDirectory() as home:
        place = Path(home)
        async with stage(place) as on, fleet(on, place, daemons=100, processes=1):
            await all_there(on, 100)
            outcome = await load(on, rate=100, seconds=5)
            assert outcome.in_order == outcome.ended == outcome.tasks, outcome
            yield Figure(
                "relay_dispatch_p99_ms",
                outcome.p99_ms,
                f"from server to daemon; median {outcome.p50_ms:.2f} ms, {outcome.tasks} tasks at "
                "100 a second to 100 daemons",
            )
            yield Figure(
                "relay_memory_mb",
                outcome.bytes_ / 1e6,
                f"with 100 daemons; {outcome.cpu_s / outcome.tasks * 1000:.2f} ms of CPU a task",
            )
    yield await _against_bare()


async def _against_bare() -> Figure:
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        async with (
            stage(Path(one)) as relay,
            stage(Path(other), bare=True) as bare,
            fleet(relay, Path(one), daemons=_BURSTS, processes=1),
            fleet(bare, Path(other), daemons=_BURSTS, processes=1),
        ):
            await all_there(relay, _BURSTS)
            return await ratio(
                "relay_messages/bare", lambda: burst(relay), lambda: burst(bare), runs=_RUNS
            )


async def main(words: Sequence[str]) -> int:
    """Run the load and say what came of it."""
    daemons = int(words[0]) if words else 1000
    rate = float(words[1]) if len(words) > 1 else 200.0
    seconds = float(words[2]) if len(words) > 2 else 60.0
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))
    with tempfile.TemporaryDirectory() as home:
        place = Path(home)
        async with stage(place) as on:
            alone = resident_bytes(on.pid)
            async with fleet(on, place, daemons=daemons, processes=4):
                await all_there(on, daemons)
                idle = resident_bytes(on.pid)
                outcome = await load(on, rate=rate, seconds=seconds)
        print(
            f"{outcome.ended} of {outcome.tasks} tasks ended, {outcome.in_order} with all messages "
            f"once and in order, in {outcome.seconds:.1f} s\n"
            f"dispatch: median {outcome.p50_ms:.2f} ms, p99 {outcome.p99_ms:.2f} ms\n"
            f"the relay took {outcome.cpu_s:.1f} s of CPU ({outcome.cpu_s / outcome.seconds:.0%}),"
            f" {alone / 1e6:.0f} MB of memory alone, {idle / 1e6:.0f} MB with {daemons} daemons,"
            f" {outcome.bytes_ / 1e6:.0f} MB in the end; the machine's load was "
            f"{os.getloadavg()[0]:.1f}"
        )
    return int(outcome.in_order != outcome.tasks)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sys.exit(runner.run(main(sys.argv[1:])))
