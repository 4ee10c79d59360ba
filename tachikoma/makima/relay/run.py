"""The relay from its first moment to its last: the one place that joins its parts."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
from collections.abc import AsyncIterator, Callable

from aiohttp import web

from tachikoma.host import tasks
from tachikoma.host.clock import Clock
from tachikoma.makima.peer import Limits
from tachikoma.makima.relay.monitoring import Access, Monitoring, is_loopback
from tachikoma.makima.relay.service import Relay
from tachikoma.makima.relay.settings import RelaySettings
from tachikoma.makima.relay.store import MOST_BYTES, Store
from tachikoma.model.errors import TachikomaError
from tachikoma.model.errors_fleet import MakimaError
from tachikoma.model.vm import Endpoint

_BACKLOG = 1024
_CLOSE_S = 1.0
_LAST_WRITE_S = 5.0

_log = logging.getLogger(__name__)


async def serve(
    settings: RelaySettings,
    *,
    clock: Clock,
    told_to_stop: asyncio.Event,
    announce: Callable[[Endpoint, str], None],
    limits: Limits | None = None,
    most_bytes: int = MOST_BYTES,
) -> None:
    """Be the relay until ``told_to_stop``; ``announce`` is told where it listens and its name.

    If starting fails, nothing listens. On stop nobody more is let in, daemons are closed in good
    order and what they have said is kept, and the server hears for some seconds what there is left
    to be said; the rest is on disk for the next relay.

    Raises:
        BookError: another relay has the database, or it cannot be used.
        MakimaError: the address is taken, or not one of this host.
    """
    async with Store.at(settings.database, clock=clock, most_bytes=most_bytes) as store:
        relay = await Relay.taken_up(settings, store, clock, limits=limits)
        writing = tasks.spawn(relay.write_all(), name="relay's writing")
        looking = tasks.spawn(relay.look(), name="relay's looks")
        upstream = tasks.spawn(relay.upstream.run(), name="relay's upstream")
        stopping = tasks.spawn(_until(told_to_stop), name="relay's end")
        work = (writing, looking, upstream)
        try:
            async with relay.downstream, _listening(relay, settings) as endpoint:
                announce(endpoint, relay.name)
                await asyncio.wait({stopping, *work}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await tasks.end(stopping)
            for each in (upstream, looking):
                if not each.done():
                    await tasks.end(each)
            if not writing.done():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(relay.kept(), _LAST_WRITE_S)
                await tasks.end(writing)
        for each in work:
            if not each.cancelled() and (error := each.exception()) is not None:
                raise _first(error)


@contextlib.asynccontextmanager
async def _listening(relay: Relay, settings: RelaySettings) -> AsyncIterator[Endpoint]:
    """Listen within the block; at its end the port is given back, then connections are closed."""
    access = Access(
        local=is_loopback(settings.bind),
        keys=tuple(key.encode() for key in settings.daemon_keys),
    )
    runner = web.AppRunner(
        Monitoring(relay, access).application(), access_log=None, shutdown_timeout=_CLOSE_S
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, settings.bind, settings.port, backlog=_BACKLOG)
        try:
            await site.start()
        except OSError as error:
            raise _not_bound(error, settings) from error
        host, port = runner.addresses[0][:2]
        yield Endpoint(host, port)
        await site.stop()
        await relay.downstream.close()
    finally:
        await runner.cleanup()


def _not_bound(error: OSError, settings: RelaySettings) -> MakimaError:
    where = f"{settings.bind}:{settings.port}"
    if error.errno == errno.EADDRINUSE:
        return MakimaError(
            f"{where} is taken by another program",
            hint=f"find it with `ss -ltnp sport = :{settings.port}`, or choose another --port",
        )
    if error.errno == errno.EACCES:
        return MakimaError(
            f"this user may not listen on {where}", hint="choose a --port from 1024 on"
        )
    return MakimaError(
        f"the relay cannot listen on {where}: {error.strerror or error}",
        hint="give an address of this host with --bind (`ip addr` lists them)",
    )


def _first(error: BaseException) -> BaseException:
    """Give the error of ours in a group, or what there is."""
    if isinstance(error, BaseExceptionGroup):
        ours = error.subgroup(TachikomaError)
        found: BaseException = error if ours is None else ours
        while isinstance(found, BaseExceptionGroup):
            found = found.exceptions[0]
        return found
    return error


async def _until(event: asyncio.Event) -> None:
    await event.wait()
