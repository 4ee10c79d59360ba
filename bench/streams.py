"""``python -m bench.streams [STREAMS [SECONDS]]``: many event streams at once through one proxy.

A thousand streams by default, each 20 events a second for 30 s, over loopback. Every event must
arrive, in order; the memory that a stream takes in the proxy is printed. In a second act the proxy
is killed under that load: every client must see a broken stream, the next command brings the proxy
back, and no line of the ledger is torn.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import uvloop

from bench.figure import Figure, free_port
from bench.loopback import Proxy, beside, cpu_s, proxy_to, resident_bytes
from tachikoma.model.events import silent

PACE = 20
_VMS = 20
_AT_ONCE = 100
_SLACK_S = 60.0


class Listener(asyncio.Protocol):
    """One client: checks that event follows event, and tells how its stream ended."""

    def __init__(self, request: bytes, begun: asyncio.Semaphore) -> None:
        self._request = request
        self._begun: asyncio.Semaphore | None = begun
        self._rest = b""
        self.events = 0
        self.fault = ""
        self.whole = False
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        if self._begun is not None:
            self._begun.release()
            self._begun = None
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b"data: "):
                self.events += 1
                if int(line[6:].split(b" ")[0]) != self.events:
                    self.fault = self.fault or f"event {self.events} is {line[:20]!r}"
            elif line.startswith(b"HTTP/1.1 ") and b" 200 " not in line:
                self.fault = line.decode()
        self.whole = self._rest == b"" and bool(lines) and lines[-2:] == [b"0\r", b"\r"]

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self._begun is not None:
            self._begun.release()
            self._begun = None
        if not self.ended.done():
            self.ended.set_result(None)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of all streams."""

    streams: int
    events: int
    whole: int
    faults: Counter[str]
    cpu_s: float
    bytes_each: float
    seconds: float


def _itself(listener: Listener) -> Listener:
    return listener


async def listen(proxy: Proxy, *, streams: int, events: int) -> list[Listener]:
    """Open the streams, a hundred at a time."""
    loop, begun = asyncio.get_running_loop(), asyncio.Semaphore(_AT_ONCE)
    listeners = []
    for number in range(streams):
        token = proxy.tokens[number % len(proxy.tokens)]
        request = (
            f"POST /v1/messages HTTP/1.1\r\nHost: {proxy.endpoint}\r\nx-api-key: {token}\r\n"
            f"x-events: {events}\r\nx-pace: {PACE}\r\nContent-Length: 2\r\nConnection: close"
            "\r\n\r\n{}"
        ).encode()
        await begun.acquire()
        made = Listener(request, begun)
        await loop.create_connection(partial(_itself, made), "127.0.0.1", proxy.endpoint.port)
        listeners.append(made)
    return listeners


async def run(proxy: Proxy, *, streams: int, seconds: float) -> Outcome:
    """Let ``streams`` go on for ``seconds`` each, and count."""
    pid, events = proxy.pid, int(seconds * PACE)
    before, cpu, began = resident_bytes(pid), cpu_s(pid), time.monotonic()
    listeners = await listen(proxy, streams=streams, events=events)
    during = resident_bytes(pid)
    async with asyncio.timeout(seconds + _SLACK_S):
        await asyncio.gather(*(each.ended for each in listeners))
    return Outcome(
        streams=streams,
        events=sum(each.events for each in listeners),
        whole=sum(each.whole and each.events == events for each in listeners),
        faults=Counter(each.fault for each in listeners if each.fault),
        cpu_s=cpu_s(pid) - cpu,
        bytes_each=(during - before) / streams,
        seconds=time.monotonic() - began,
    )


async def killed(proxy: Proxy, *, streams: int) -> list[str]:
    """Kill the proxy under load; gives what went wrong, which should be nothing."""
    listeners = await listen(proxy, streams=streams, events=PACE * 3600)
    pid = proxy.pid
    os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(_SLACK_S):
        await asyncio.gather(*(each.ended for each in listeners))
    faults = [f"{sum(each.whole for each in listeners)} streams look whole"]
    faults = faults if any(each.whole for each in listeners) else []
    await proxy.control.ensure(silent)
    if proxy.pid == pid:
        faults.append("the proxy did not come back")
    again = await run(proxy, streams=10, seconds=1)
    if again.whole != 10:
        faults.append("the new proxy does not serve")
    await proxy.control.stop()
    for line in proxy.plan.requests_file.read_bytes().splitlines():
        try:
            json.loads(line)
        except ValueError:
            faults.append(f"a torn line: {line[:60]!r}")
    return faults


@contextlib.asynccontextmanager
async def stage() -> AsyncIterator[Proxy]:
    """A proxy with the streaming API behind it."""
    port = free_port()
    with tempfile.TemporaryDirectory() as place:
        home = Path(place)
        origin = [sys.executable, "-m", "bench.origin", str(port)]
        async with (
            beside(origin, log=home / "origin.log", port=port),
            proxy_to(f"http://127.0.0.1:{port}", home, vms=_VMS) as proxy,
        ):
            yield proxy


async def figures() -> AsyncIterator[Figure]:
    """Measure what the events of a hundred streams cost."""
    async with stage() as proxy:
        outcome = await run(proxy, streams=100, seconds=5)
        assert outcome.whole == outcome.streams, outcome
        yield Figure(
            "proxy_cpu_s_per_1000_events",
            outcome.cpu_s / outcome.events * 1000,
            f"{outcome.events} events of {outcome.streams} streams took {outcome.cpu_s:.2f} s",
        )


async def main(words: Sequence[str]) -> int:
    """Run both acts and say what came of them."""
    streams = int(words[0]) if words else 1000
    seconds = float(words[1]) if len(words) > 1 else 30.0
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 4 * streams:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8 * streams), hard))
    async with stage() as proxy:
        outcome = await run(proxy, streams=streams, seconds=seconds)
        lost = streams * int(seconds * PACE) - outcome.events
        print(
            f"{outcome.whole} of {streams} streams whole, {outcome.events} events, {lost} lost, "
            f"{outcome.seconds:.1f} s; the proxy took {outcome.cpu_s:.1f} s of CPU and "
            f"{outcome.bytes_each / 1024:.1f} KiB of memory a stream"
        )
        for fault, count in outcome.faults.items():
            print(f"  {count} x {fault}")
        faults = await killed(proxy, streams=streams)
        print(f"killed under load: {'; '.join(faults) or 'all well'}")
    return int(bool(faults) or outcome.whole != streams)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sys.exit(runner.run(main(sys.argv[1:])))
