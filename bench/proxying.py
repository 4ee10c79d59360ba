"""What the proxy adds to a request, and how it compares with nginx at the same job.

Both stand between the same load (wrk, or one client here) and the same origin (nginx), and serve
the same bodies: nginx with keep-alive to its upstream and buffering off, as for event streams.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from bench.figure import Figure, free_port
from bench.loopback import Proxy, beside, proxy_to
from tachikoma.host import process
from tachikoma.model.errors import MissingToolError

SIZES = {"1k": 1 << 10, "100k": 100 << 10, "5m": 5 << 20}
_LOAD_S = 3
_ROUNDS = 3
_CONNECTIONS = 16
_ASKED = 600
_DEADLINE_S = 60.0
_CONFIGURATION = """
worker_processes 1;
daemon off;
pid {place}/{name}.pid;
error_log {place}/{name}.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {place}/{name}-body;
    proxy_temp_path {place}/{name}-proxy;
    fastcgi_temp_path {place}/{name}-fastcgi;
    uwsgi_temp_path {place}/{name}-uwsgi;
    scgi_temp_path {place}/{name}-scgi;
    keepalive_requests 1000000000;
    tcp_nodelay on;
    {more}
}}
"""
_ORIGIN = """
    server {{ listen 127.0.0.1:{port}; root {place}/www; sendfile on; }}
"""
_REFERENCE = """
    upstream origin {{ server 127.0.0.1:{origin}; keepalive 64; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header x-api-key real;
            proxy_buffering off;
        }}
    }}
"""


async def figures() -> AsyncIterator[Figure]:
    """Measure what is added at one client, then the throughput against nginx."""
    for tool in ("nginx", "wrk"):
        if shutil.which(tool) is None:
            raise MissingToolError(
                f"{tool} is not installed", hint="`tools/setup bench` installs it"
            )
    async with _stage() as (proxy, direct, reference):
        yield await _added(proxy, direct)
        for name in SIZES:
            yield await _against(name, proxy, reference)


@contextlib.asynccontextmanager
async def _stage() -> AsyncIterator[tuple[Proxy, int, int]]:
    """The origin, the reference and the proxy; gives the ports of the first two."""
    with tempfile.TemporaryDirectory() as made:
        place = Path(made)
        place.chmod(0o755)  # nginx's worker is another user where the master is root
        _bodies(place / "www" / "v1")
        origin, reference = free_port(), free_port()
        async with (
            _nginx(place, "origin", _ORIGIN.format(port=origin, place=place), origin),
            _nginx(place, "ref", _REFERENCE.format(port=reference, origin=origin), reference),
            proxy_to(f"http://127.0.0.1:{origin}", place / "home") as proxy,
        ):
            yield proxy, origin, reference


def _bodies(place: Path) -> None:
    place.mkdir(parents=True)
    for name, size in SIZES.items():
        (place / name).write_bytes(b"x" * size)


def _nginx(
    place: Path, name: str, more: str, port: int
) -> contextlib.AbstractAsyncContextManager[int]:
    file = place / f"{name}.conf"
    file.write_text(_CONFIGURATION.format(place=place, name=name, more=more), encoding="ascii")
    return beside(["nginx", "-c", str(file)], log=place / f"{name}.out", port=port)


async def _added(proxy: Proxy, origin: int) -> Figure:
    """Ask for the small body again and again, by turns through the proxy and directly."""
    through = await _asking(proxy.endpoint.port, proxy.tokens[0])
    direct = await _asking(origin, proxy.tokens[0])
    took: list[list[float]] = [[], []]
    for run in range(_ASKED):
        for which, ask in enumerate((direct, through)):
            began = time.perf_counter()
            await ask()
            if run >= _ASKED // 10:
                took[which].append(time.perf_counter() - began)
    base, ours = (sorted(each)[len(each) // 2] * 1000 for each in took)
    return Figure(
        "proxy_added_ms",
        ours - base,
        f"{ours:.3f} ms through the proxy, {base:.3f} ms directly, medians of {_ASKED} requests",
    )


async def _asking(port: int, token: str) -> Callable[[], Awaitable[None]]:
    """Give a function that asks for the small body on one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    request = f"GET /v1/1k HTTP/1.1\r\nHost: bench\r\nx-api-key: {token}\r\n\r\n".encode()

    async def ask() -> None:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        await reader.readexactly(SIZES["1k"])

    return ask


async def _against(name: str, proxy: Proxy, reference: int) -> Figure:
    """Compare the requests a second; both take turns, the medians count."""
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(_ROUNDS):
        theirs.append(await _load(reference, name, proxy.tokens[0]))
        ours.append(await _load(proxy.endpoint.port, name, proxy.tokens[0]))
    median, against = sorted(ours)[_ROUNDS // 2], sorted(theirs)[_ROUNDS // 2]
    return Figure(
        f"proxy_rps/nginx_{name}",
        median / against,
        f"{median:.0f} a second against {against:.0f}, medians of {_ROUNDS} runs of {_LOAD_S} s",
    )


async def _load(port: int, name: str, token: str) -> float:
    done = await process.run(
        [
            "wrk",
            "--threads=1",
            f"--connections={_CONNECTIONS}",
            f"--duration={_LOAD_S}s",
            f"--header=x-api-key: {token}",
            f"http://127.0.0.1:{port}/v1/{name}",
        ],
        deadline_s=_DEADLINE_S,
    )
    assert "Non-2xx" not in done.text, done.text
    found = re.search(r"Requests/sec:\s+([0-9.]+)", done.text)
    assert found is not None, done.text
    return float(found[1])
