"""The way out to the hosts that a VM may reach.

A name is looked up once; its addresses are judged, and one of those is what is connected to. So
nobody who answers for the name can put another address in place of the one that was judged.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable

from tachikoma.proxy.egress import Address, Egress, literal, reachable
from tachikoma.proxy.wire import Wire

Resolve = Callable[[str], Awaitable[list[Address]]]

_LOOK_UP_S = 10.0
_CONNECT_S = 10.0
_MOST_ADDRESSES = 4


class ForbiddenError(Exception):
    """No address of the host may be reached; says why."""


async def resolve(host: str) -> list[Address]:
    """Ask the system for the addresses of ``host``.

    Raises:
        OSError: there are none, or nobody answers.
    """
    async with asyncio.timeout(_LOOK_UP_S):
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    texts = dict.fromkeys(str(each[4][0]).partition("%")[0] for each in found)
    return [ipaddress.ip_address(text) for text in texts]


async def connect(host: str, port: int, egress: Egress, resolver: Resolve) -> Wire:
    """Connect to ``host`` at an address that may be reached.

    Raises:
        ForbiddenError: none of its addresses may.
        OSError: it has no address, or none of them answers.
    """
    address = literal(host)
    found = [address] if address is not None else await resolver(host)
    fit, why = reachable(egress, found, port)
    if not fit:
        raise ForbiddenError(f"{host} may not be reached: {why}" if address is None else why)
    failure: OSError = ConnectionError("no address answers")
    for each in fit[:_MOST_ADDRESSES]:
        try:
            async with asyncio.timeout(_CONNECT_S):
                _, wire = await asyncio.get_running_loop().create_connection(Wire, str(each), port)
                return wire
        except OSError as error:  # TimeoutError is one
            failure = error
    raise failure
