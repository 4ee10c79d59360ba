"""The proxy process: the one place that joins its parts.

It is a program of its own, beside the composition root of the command line, so that what holds
the credential loads nothing but what it needs.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from tachikoma.credentials.os_keychain import OsKeychain
from tachikoma.credentials.port import Source
from tachikoma.credentials.sources import Surroundings, in_order
from tachikoma.credentials.waterfall import Waterfall
from tachikoma.host import process
from tachikoma.host.clock import Clock
from tachikoma.model.errors import HostError, ProxyError
from tachikoma.model.version import VERSION
from tachikoma.model.vm import Endpoint
from tachikoma.proxy import pidfile
from tachikoma.proxy.hardening import keep_memory_private
from tachikoma.proxy.ledger import RequestLedger
from tachikoma.proxy.pidfile import Announcement
from tachikoma.proxy.plan import Plan
from tachikoma.proxy.server import Parts, ProxyServer
from tachikoma.proxy.tenants import TenantBook
from tachikoma.proxy.upstream import Upstream
from tachikoma.state.json_file import JsonFileStore

DRAIN_S = 8.0
"""How long requests in flight may go on after the proxy was told to stop."""

_log = logging.getLogger(__name__)


async def serve(plan: Plan, *, clock: Clock, announce: Callable[[Announcement], None]) -> None:
    """Be the proxy until SIGTERM or SIGINT; ``announce`` is told once it listens.

    If starting fails, nothing listens and no PID file is written. On stop the port is given
    back and the PID file removed at once, then requests in flight have ``DRAIN_S`` to finish.

    Raises:
        ProxyPortError: the port is taken.
        ProxyError: the plan cannot be carried out, or this user's proxy runs already.
    """
    keep_memory_private()
    plan.check()
    running = await asyncio.to_thread(pidfile.read, plan.pid_file)
    if running is not None and running.alive and running.pid != os.getpid():
        raise ProxyError(
            f"the proxy runs already: process {running.pid} on {running.endpoint}",
            hint="`tachikoma proxy stop` ends it",
        )
    record = _Record(plan.pid_file)
    store = JsonFileStore(file=plan.paths.state_file, locks=plan.paths.locks, clock=clock)
    upstream = Upstream(base=plan.upstream, environment=plan.environment, clock=clock)
    credentials = Waterfall(sources=_sources(plan, clock), ttl_s=plan.ttl_s, clock=clock)
    with RequestLedger(file=plan.requests_file) as ledger, _told_to_stop() as told:
        async with contextlib.aclosing(credentials), upstream:
            parts = Parts(
                credentials=credentials,
                tenants=TenantBook(store=store, file=plan.paths.state_file).tenants,
                upstream=upstream,
                ledger=ledger,
                clock=clock,
                on_health=record.keep,
            )
            server = ProxyServer(
                endpoint=plan.endpoint, instance=plan.instance, drain_s=DRAIN_S, parts=parts
            )
            async with server:
                announcement = _announcement(plan, server.endpoint, clock)
                await record.make(announcement)
                announce(announcement)
                await told.wait()
                # Together, with nothing in between: a free port and no record of us.
                server.stop_listening()
                record.drop()


def log_to(stream: TextIO) -> None:
    """Log to ``stream``, with whatever looks like a secret taken out."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Redacting("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


class _Redacting(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return process.redacted(super().format(record))


@dataclass(slots=True)
class _Record:
    """The PID file while we listen: made, made again should somebody remove it, dropped."""

    file: Path
    announcement: Announcement | None = None

    async def make(self, announcement: Announcement) -> None:
        await asyncio.to_thread(pidfile.write, self.file, announcement)
        self.announcement = announcement

    async def keep(self) -> None:
        if self.announcement is not None and not await asyncio.to_thread(self.file.exists):
            with contextlib.suppress(HostError):
                await asyncio.to_thread(pidfile.write, self.file, self.announcement)

    def drop(self) -> None:
        self.announcement = None
        pidfile.remove(self.file)


@contextlib.contextmanager
def _told_to_stop() -> Iterator[asyncio.Event]:
    """Give the event that SIGTERM and SIGINT set."""
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)
    for each in signals:
        loop.add_signal_handler(each, told.set)
    try:
        yield told
    finally:
        for each in signals:
            loop.remove_signal_handler(each)


def _announcement(plan: Plan, endpoint: Endpoint, clock: Clock) -> Announcement:
    salt = pidfile.fresh_salt()
    return Announcement(
        pid=os.getpid(),
        started=process.start_time(os.getpid()) or "",
        host=endpoint.host,
        port=endpoint.port,
        version=VERSION,
        upstream=plan.upstream,
        since=clock.now(),
        salt=salt,
        marks=pidfile.marks_of(plan.environment, salt),
    )


def _sources(plan: Plan, clock: Clock) -> tuple[Source, ...]:
    place = Surroundings(
        environment=plan.environment,
        home=plan.paths.home,
        credential_command=plan.credential_command,
        api_key_command=plan.api_key_command,
        keychain=OsKeychain(environment=plan.environment, platform=sys.platform),
    )
    return in_order(place, clock)
