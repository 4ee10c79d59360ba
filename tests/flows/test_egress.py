"""Other hosts through the proxy: tunnels and plain requests, for who may, as long as he may.

The host stands on this machine's own address, because loopback is never reached.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ipaddress
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from tachikoma.host.clock import SystemClock, attempts
from tachikoma.proxy.conversation import Limits
from tests.flows.conftest import PATIENCE_S, TOKEN, World, record, the_world

pytestmark = pytest.mark.live

WORD = base64.b64encode(b"vm:" + TOKEN.encode()).decode()
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def own_address() -> str:
    """Give an address of this machine that is not loopback; no packet is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("203.0.113.1", 9))
        except OSError:
            pytest.skip("this machine has no address but loopback")
        found = str(probe.getsockname()[0])
    if found.startswith("127."):
        pytest.skip("this machine has no address but loopback")
    return found


class Outside:
    """A host that the VM may reach as ``allowed.example`` and by its address."""

    def __init__(self, world: World, address: str, port: int) -> None:
        self.world = world
        self.address = address
        self.port = port
        self.met: list[Streams] = []
        self.met_somebody = asyncio.Event()

    def allow(self, *more: str, denied: tuple[str, ...] = ()) -> None:
        rules = (f"allowed.example:{self.port}", *more)
        with self.world.store.edit() as ledger:
            ledger.put(replace(record(), egress_allow=rules, egress_deny=denied))

    async def ask(self, first: str) -> tuple[bytes, Streams]:
        """Send a request through the proxy; gives the head of the answer and the connection."""
        _, port = self.world.url.rsplit(":", 1)
        reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
        host = first.split(" ")[1].removeprefix("http://").partition("/")[0]
        lines = (f"{first} HTTP/1.1", f"Host: {host}", f"Proxy-Authorization: Basic {WORD}", "", "")
        writer.write("\r\n".join(lines).encode())
        async with asyncio.timeout(PATIENCE_S):
            return await reader.readuntil(b"\r\n\r\n"), (reader, writer)


@contextlib.asynccontextmanager
async def outside_of(world: World) -> AsyncIterator[Outside]:
    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found.met.append((reader, writer))
        found.met_somebody.set()

    address = own_address()
    server = await asyncio.start_server(meet, address, 0)
    found = Outside(world, address, server.sockets[0].getsockname()[1])
    world.names["allowed.example"] = [ipaddress.ip_address(address)]
    found.allow(f"{address}:{found.port}")
    try:
        yield found
    finally:
        server.close()
        for _, writer in found.met:
            writer.close()


@pytest.fixture
async def outside(world: World) -> AsyncIterator[Outside]:
    async with outside_of(world) as made:
        yield made


async def test_bytes_go_both_ways_and_each_side_may_end_first(outside: Outside) -> None:
    head, (reader, writer) = await outside.ask(f"CONNECT allowed.example:{outside.port}")
    assert head.startswith(b"HTTP/1.1 200 ")
    writer.write(b"up" * 100_000)
    writer.write_eof()
    async with asyncio.timeout(PATIENCE_S):
        theirs, ours = outside.met[0]
        assert await theirs.read() == b"up" * 100_000
        ours.write(b"down" * 100_000)
        ours.close()
        assert await reader.read() == b"down" * 100_000
    writer.close()
    told = await outside.world.line()
    assert (told["method"], told["host"]) == ("CONNECT", f"allowed.example:{outside.port}")
    assert (told["received"], told["sent"], told["status"]) == (200_000, 400_000, 200)
    assert (told["verdict"], told["vm"]) == ("forwarded", "tachikoma-repo-main")


async def test_a_private_address_is_reached_only_if_a_rule_names_it(outside: Outside) -> None:
    outside.allow()
    head, (_, writer) = await outside.ask(f"CONNECT allowed.example:{outside.port}")
    writer.close()
    assert head.startswith(b"HTTP/1.1 403 ")
    told = await outside.world.line()
    assert f"{outside.address} is a private address" in told["why"]
    assert outside.met == []


async def test_the_address_that_was_judged_is_the_one_that_is_connected_to(
    outside: Outside,
) -> None:
    names = outside.world.names
    good, bad = ipaddress.ip_address(outside.address), ipaddress.ip_address("127.0.0.1")
    names["allowed.example"] = [bad, good]
    _, (_, writer) = await outside.ask(f"CONNECT allowed.example:{outside.port}")
    async with asyncio.timeout(PATIENCE_S):
        await outside.met_somebody.wait()
    assert outside.met[0][1].get_extra_info("sockname")[0] == outside.address
    writer.close()
    names["allowed.example"] = [bad]
    head, (_, writer) = await outside.ask(f"CONNECT allowed.example:{outside.port}")
    writer.close()
    assert head.startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize("how", ["denied", "destroyed"])
async def test_a_tunnel_ends_with_the_right_to_it(outside: Outside, how: str) -> None:
    head, (reader, writer) = await outside.ask(f"CONNECT allowed.example:{outside.port}")
    assert head.startswith(b"HTTP/1.1 200 ")
    if how == "denied":
        outside.allow(
            f"{outside.address}:{outside.port}", denied=(f"allowed.example:{outside.port}",)
        )
    else:
        with outside.world.store.edit() as ledger:
            ledger.drop(record().name)
    async with asyncio.timeout(PATIENCE_S):
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
    writer.close()
    assert (await outside.world.line())["verdict"] == "abandoned"


async def test_plain_http_goes_out_without_our_token_and_comes_back(outside: Outside) -> None:
    async def answer() -> None:
        await outside.met_somebody.wait()
        theirs, ours = outside.met[0]
        heads.append(await theirs.readuntil(b"\r\n\r\n"))
        ours.write(b"HTTP/1.1 200 Fine\r\nContent-Length: 5\r\n\r\nhello")
        await ours.drain()

    heads: list[bytes] = []
    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
        group.create_task(answer())
        head, (reader, writer) = await outside.ask(
            f"GET http://allowed.example:{outside.port}/a?b=%2f"
        )
        assert await reader.readexactly(5) == b"hello"
        writer.close()
    assert head.startswith(b"HTTP/1.1 200 Fine\r\n")
    assert heads[0].startswith(b"GET /a?b=%2f HTTP/1.1\r\n")
    assert b"roxy-" not in heads[0]
    assert TOKEN.encode() not in heads[0]
    assert (await outside.world.line())["host"] == f"allowed.example:{outside.port}"


async def test_a_host_that_does_not_answer_gives_502(outside: Outside) -> None:
    with socket.create_server((outside.address, 0)) as closed:
        port = closed.getsockname()[1]
    outside.allow(f"{outside.address}:{port}", f"unknown.example:{port}")
    for host in (outside.address, "unknown.example"):
        head, (_, writer) = await outside.ask(f"CONNECT {host}:{port}")
        writer.close()
        assert head.startswith(b"HTTP/1.1 502 ")
    assert (await outside.world.line(1))["verdict"] == "failed"


async def test_a_client_that_goes_away_ends_the_tunnel(outside: Outside) -> None:
    _, (_, writer) = await outside.ask(f"CONNECT allowed.example:{outside.port}")
    writer.transport.abort()
    async with asyncio.timeout(PATIENCE_S):
        await outside.met_somebody.wait()
        with contextlib.suppress(ConnectionError):
            assert await outside.met[0][0].read() == b""


# Limits


async def test_a_vm_has_so_many_requests_at_a_time_and_no_more(tmp_path: Path) -> None:
    async with (
        the_world(tmp_path, limits=Limits(requests=2)) as world,
        outside_of(world) as outside,
    ):
        first = f"CONNECT allowed.example:{outside.port}"
        kept = [await outside.ask(first) for _ in range(2)]
        head, (_, writer) = await outside.ask(first)
        writer.close()
        assert head.startswith(b"HTTP/1.1 429 ")
        assert b"retry-after: 1\r\n" in head
        assert (await world.line())["why"] == "this VM has 2 requests going on already"
        outside.met[0][1].close()
        kept[0][1][1].close()
        async for _ in attempts(SystemClock(), deadline_s=PATIENCE_S):
            head, (_, writer) = await outside.ask(first)
            writer.close()
            if head.startswith(b"HTTP/1.1 200 "):
                break
        assert head.startswith(b"HTTP/1.1 200 ")
        for _, (_, writer) in kept:
            writer.close()


SHORT = Limits(head_s=0.2, idle_s=0.2, slow_s=0.2, stuck_s=0.3, silence_s=0.3)


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (b"", ""),
        (b"POST /v1/mess", ""),
        (
            f"POST /v1/messages HTTP/1.1\r\nHost: p\r\nx-api-key: {TOKEN}\r\n"
            "Content-Length: 5\r\n\r\nab".encode(),
            "the client sends nothing of its body",
        ),
    ],
)
async def test_who_sends_nothing_is_cut_off(tmp_path: Path, sent: bytes, why: str) -> None:
    async with the_world(tmp_path, limits=SHORT) as world:
        _, port = world.url.rsplit(":", 1)
        reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
        writer.write(sent)
        async with asyncio.timeout(PATIENCE_S):
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
        writer.close()
        if why:
            assert (await world.line())["why"] == why


async def test_who_takes_nothing_is_cut_off_and_slows_the_other_side_down(tmp_path: Path) -> None:
    sent = 0

    async def endless(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65536)
            sent += 65536

    async with the_world(tmp_path, limits=SHORT) as world:
        world.api.handler = endless
        _, port = world.url.rsplit(":", 1)
        _, writer = await asyncio.open_connection("127.0.0.1", int(port), limit=1)
        writer.write(f"GET /v1/x HTTP/1.1\r\nHost: p\r\nx-api-key: {TOKEN}\r\n\r\n".encode())
        assert (await world.line())["why"] == "the client takes nothing"
        writer.close()
        assert sent < 32 << 20


async def test_an_api_that_falls_silent_is_given_up(tmp_path: Path) -> None:
    async def silent(request: web.BaseRequest) -> web.StreamResponse:
        await asyncio.Event().wait()
        return web.Response()

    async with the_world(tmp_path, limits=SHORT) as world:
        world.api.handler = silent
        with contextlib.suppress(Exception):
            async with world.messages(data=b"{}"):
                pass
        assert (await world.line())["why"] == "silence"
