"""An API behind TLS, reached directly and through a proxy of the host's own."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from pathlib import Path

import pytest
import uvloop
from aiohttp import web

from tests.doubles.certificate import certificate
from tests.flows.conftest import PATIENCE_S, SECRET, TOKEN, record, say_ok, the_world
from tests.flows.test_egress import own_address

pytestmark = pytest.mark.live


@contextlib.asynccontextmanager
async def behind_tls(address: str, context: ssl.SSLContext) -> AsyncIterator[str]:
    server = web.Server(say_ok, access_log=None)
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(server, address, 0, ssl=context)
    try:
        yield f"https://{address}:{listener.sockets[0].getsockname()[1]}"
    finally:
        listener.close()
        await server.shutdown(0.2)


async def ask_directly(place: Path) -> None:
    public, context = certificate(place, "127.0.0.1")
    async with behind_tls("127.0.0.1", context) as base:
        trusting = {"SSL_CERT_FILE": str(public)}
        async with the_world(place / "a", base=base, environment=trusting) as world:
            for _ in range(2):  # on one connection
                async with world.messages(data=b"{}") as answer:
                    assert (answer.status, await answer.text()) == (200, "ok")
        async with (
            the_world(place / "b", base=base) as world,
            world.messages(data=b"{}") as answer,
        ):
            assert answer.status == 502
            assert "SSLCertVerificationError" in await answer.text()


async def ask_through_a_proxy(place: Path) -> None:
    """The proxy of the host is another one of ours, which lets this host out to one address."""
    address = own_address()
    public, context = certificate(place, address)
    async with behind_tls(address, context) as base, the_world(place / "a") as first:
        port = int(base.rpartition(":")[2])
        environment = {
            "SSL_CERT_FILE": str(public),
            "HTTPS_PROXY": f"http://vm:{TOKEN}@{first.url.removeprefix('http://')}",
        }
        async with the_world(place / "b", base=base, environment=environment) as second:
            async with second.messages(data=b"{}") as answer:
                assert answer.status == 502
            with first.store.edit() as ledger:
                ledger.put(replace(record(), egress_allow=(f"{address}:{port}",)))
            async with second.messages(data=b"x" * 500_000) as answer:
                assert (answer.status, await answer.text()) == (200, "ok")
        passed = await first.line(1)
        assert (passed["method"], passed["path"]) == ("CONNECT", f"{address}:{port}")
        assert SECRET not in first.requests.read_text()


@pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("ask", [ask_directly, ask_through_a_proxy])
def test_the_api_is_reached_over_tls_on_either_kind_of_loop(
    ask: Callable[[Path], Coroutine[None, None, None]],
    make_loop: Callable[[], asyncio.AbstractEventLoop],
    tmp_path: Path,
) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await ask(tmp_path)

    for each in ("a", "b"):
        (tmp_path / each).mkdir()
    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(bounded())
