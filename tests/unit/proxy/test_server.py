from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tachikoma.credentials.memory import MemorySource
from tachikoma.credentials.waterfall import Waterfall
from tachikoma.host.clock import FakeClock
from tachikoma.model.errors import ProxyError, ProxyPortError
from tachikoma.model.vm import Endpoint
from tachikoma.proxy.api import Api
from tachikoma.proxy.conversation import Parts
from tachikoma.proxy.egress import Address
from tachikoma.proxy.ledger import RequestLedger
from tachikoma.proxy.route import Policy
from tachikoma.proxy.server import ProxyServer
from tachikoma.proxy.upstream import Upstream


async def _nothing() -> None:
    pass


async def _nobody() -> Policy:
    return Policy("http://127.0.0.1:1", {})


async def _nowhere(host: str) -> list[Address]:
    raise OSError(host)


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    clock = FakeClock()
    waterfall = Waterfall(sources=[MemorySource()], ttl_s=1, clock=clock)
    with RequestLedger(file=tmp_path / "requests.jsonl") as ledger:
        async with Upstream(base="http://127.0.0.1:1", environment={}) as upstream:
            api = Api(
                credentials=waterfall,
                upstream=upstream,
                clock=clock,
                spent=lambda _tenant, _model, _tokens: None,
            )
            yield Parts(_nobody, _nobody, api, _nowhere, ledger, clock, _nothing)


def server(host: str, port: int, parts: Parts) -> ProxyServer:
    return ProxyServer(endpoint=Endpoint(host, port), instance="x", drain_s=0.1, parts=parts)


async def test_it_listens_where_it_was_told_and_gives_the_port_back(parts: Parts) -> None:
    async with server("127.0.0.1", 0, parts) as made:
        endpoint = made.endpoint
        assert endpoint.host == "127.0.0.1"
        with pytest.raises(OSError, match="in use"):
            socket.create_server((endpoint.host, endpoint.port))
    socket.create_server((endpoint.host, endpoint.port)).close()


async def test_a_taken_port_is_said_and_nothing_listens(parts: Parts) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ProxyPortError, match=f"127.0.0.1:{port} is taken"):
            await server("127.0.0.1", port, parts).__aenter__()


async def test_an_address_of_another_machine_is_said(parts: Parts) -> None:
    with pytest.raises(ProxyError, match=r"192\.0\.2\.1 is not an address of this machine"):
        await server("192.0.2.1", 0, parts).__aenter__()
