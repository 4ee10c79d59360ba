"""The server as a whole: the store, the daemons, and the door for everybody else."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from tachikoma.host.clock import Clock
from tachikoma.makima.server.desk import Desk
from tachikoma.makima.server.fleet import GRACE_S, Fleet
from tachikoma.makima.server.front import Front
from tachikoma.makima.server.store import Store
from tachikoma.makima.server.streams import BEAT_S, Streams
from tachikoma.model.errors_fleet import ServerPortError
from tachikoma.model.vm import Endpoint

DAEMONS = "/ws/daemon"
_CLOSING_S = 5.0
_log = logging.getLogger(__name__)

AddRoutes = Callable[[web.Application, Desk], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerPlan:
    """How a server is to run. ``public_url`` is how browsers reach it, "" for the address that it
    listens on.
    """

    bind: str
    port: int
    database: Path
    public_url: str = ""
    grace_s: float = GRACE_S
    beat_s: float = BEAT_S


@asynccontextmanager
async def serving(
    plan: ServerPlan, *, clock: Clock, add_routes: AddRoutes | None = None
) -> AsyncIterator[Endpoint]:
    """Serve while the block runs; give where. ``add_routes`` may add pages of its own.

    If starting fails, nothing listens and nothing is held. On stop streams end, daemons are told to
    come again, requests under way have some seconds to finish, and the database is closed.

    Raises:
        ServerPortError: it cannot listen there.
        BookError: another server holds the database; it is damaged, or something else.
    """
    async with AsyncExitStack() as rest:
        store = await rest.enter_async_context(Store.at(plan.database, clock=clock))
        fleet = Fleet(store, grace_s=plan.grace_s)
        desk = Desk(store, fleet)
        streams = Streams(desk, beat_s=plan.beat_s)
        front = Front(desk, streams, secure=plan.public_url.startswith("https:"))
        app = front.application()
        app.router.add_get(DAEMONS, fleet.downstream.serve, name="daemons", allow_head=False)
        if add_routes is not None:
            add_routes(app, desk)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=_CLOSING_S)
        await runner.setup()
        rest.push_async_callback(runner.cleanup)
        await rest.enter_async_context(fleet)
        site = web.TCPSite(runner, plan.bind, plan.port)
        await _started(site, plan)
        rest.callback(streams.stop)
        host, port = runner.addresses[0][:2]
        _log.info("the makima server listens on %s", Endpoint(host, port))
        yield Endpoint(host, port)


async def serve(
    plan: ServerPlan,
    *,
    clock: Clock,
    announce: Callable[[Endpoint], None],
    add_routes: AddRoutes | None = None,
) -> None:
    """Serve until cancelled; ``announce`` is told once it listens.

    Raises:
        ServerPortError: it cannot listen there.
        BookError: another server holds the database; it is damaged, or something else.
    """
    async with serving(plan, clock=clock, add_routes=add_routes) as endpoint:
        announce(endpoint)
        await asyncio.Event().wait()


async def _started(site: web.TCPSite, plan: ServerPlan) -> None:
    try:
        await site.start()
    except OSError as error:
        if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            raise ServerPortError(
                f"{plan.bind} is not an address of this machine",
                hint="give one of its addresses with --bind (`ip addr` lists them)",
            ) from error
        why = os.strerror(error.errno).lower() if error.errno else str(error)
        raise ServerPortError(
            f"the makima server cannot listen on {plan.bind}:{plan.port}: {why}",
            hint="choose another port with --port, or see what listens there",
        ) from error
