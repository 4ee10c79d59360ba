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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

from tachikoma.credentials.os_keychain import OsKeychain
from tachikoma.credentials.port import Credential, Source
from tachikoma.credentials.sources import Surroundings, in_order
from tachikoma.credentials.waterfall import Waterfall
from tachikoma.host import process, tasks
from tachikoma.host.clock import Clock
from tachikoma.model.errors import HostError, ProxyError
from tachikoma.model.settings import Settings
from tachikoma.model.version import VERSION
from tachikoma.model.vm import Endpoint
from tachikoma.proxy import pidfile
from tachikoma.proxy.api import Api
from tachikoma.proxy.conversation import Parts
from tachikoma.proxy.groups import Groups
from tachikoma.proxy.hardening import allow_many_files, keep_memory_private
from tachikoma.proxy.ledger import RequestLedger
from tachikoma.proxy.outside import resolve
from tachikoma.proxy.pidfile import Announcement
from tachikoma.proxy.plan import Plan
from tachikoma.proxy.policies import Policies
from tachikoma.proxy.rotation import keep_output_small
from tachikoma.proxy.server import ProxyServer
from tachikoma.proxy.spending import Spending
from tachikoma.proxy.tenants import TenantBook
from tachikoma.proxy.upstream import Upstream
from tachikoma.proxy.usage import UsageBook
from tachikoma.state.json_file import JsonFileStore

LARGEST_LOG = 1 << 20
_TIDIED_EACH_S = 60.0
DRAIN_S = 8.0
"""How long requests in flight may go on after the proxy was told to stop."""

_log = logging.getLogger(__name__)


async def serve(
    plan: Plan, *, clock: Clock, announce: Callable[[Announcement], None], own_log: bool = False
) -> None:
    """Be the proxy until SIGTERM or SIGINT; ``announce`` is told once it listens.

    If starting fails, nothing listens and no PID file is written. On stop the port is given
    back and the PID file removed at once, then requests in flight have ``DRAIN_S`` to finish.
    On SIGHUP the settings are read again and the credential sources asked anew. With ``own_log``
    the standard outputs are the proxy's log file, which is kept small.

    Raises:
        ProxyPortError: the port is taken.
        ProxyError: the plan cannot be carried out, or this user's proxy runs already.
    """
    keep_memory_private()
    allow_many_files()
    plan.check()
    running = await asyncio.to_thread(pidfile.read, plan.pid_file)
    if running is not None and running.alive and running.pid != os.getpid():
        raise ProxyError(
            f"the proxy runs already: process {running.pid} on {running.endpoint}",
            hint="`tachikoma proxy stop` ends it",
        )
    record = _Record(plan.pid_file)
    book = UsageBook(plan.usage_file)
    with (
        RequestLedger(file=plan.requests_file, usage=book) as ledger,
        _told_to_stop() as told,
        _tidy(plan.log_file if own_log else None),
    ):
        credentials = _Credentials(plan, clock)
        async with (
            contextlib.aclosing(credentials),
            Upstream(base=plan.upstream, environment=plan.environment) as upstream,
        ):
            joined = _joined(plan, clock, credentials, upstream=upstream, book=book)
            parts = Parts(
                policy=joined.policies.current,
                outward=joined.policies.outward,
                api=joined.api,
                resolve=resolve,
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
                with _told_to_reload(joined):
                    announce(announcement)
                    await told.wait()
                # Together, with nothing in between: a free port and no record of us.
                server.stop_listening()
                record.drop()


class _Credentials:
    """The waterfall as the settings of the moment want it."""

    def __init__(self, plan: Plan, clock: Clock) -> None:
        self._plan = plan
        self._clock = clock
        self._settings: Settings | None = None
        self._ending: asyncio.Task[None] | None = None
        self._waterfall = self._made()

    def apply(self, settings: Settings) -> None:
        """Take the sources from changed settings; the first ones are in the plan already."""
        told = (settings.credential_command, settings.api_key_command)
        ttl_s = settings.credential_proxy_ttl_secs
        before, self._settings = self._settings, settings
        if before is None or (told, ttl_s) == (
            (before.credential_command, before.api_key_command),
            before.credential_proxy_ttl_secs,
        ):
            return
        self._plan = replace(
            self._plan, credential_command=told[0], api_key_command=told[1], ttl_s=ttl_s
        )
        self.renew()

    def renew(self) -> None:
        """Ask the sources anew."""
        before, self._waterfall = self._waterfall, self._made()
        self._ending = tasks.spawn(before.aclose(), name="the last sources")

    async def aclose(self) -> None:
        """End what is under way."""
        await self._waterfall.aclose()
        if self._ending is not None:
            await asyncio.wait({self._ending})

    async def current(self) -> Credential:
        return await self._waterfall.current()

    def forget(self, credential: Credential) -> None:
        self._waterfall.forget(credential)

    def _made(self) -> Waterfall:
        plan, clock = self._plan, self._clock
        return Waterfall(sources=_sources(plan, clock), ttl_s=plan.ttl_s, clock=clock)


@dataclass(frozen=True, slots=True)
class _Joined:
    policies: Policies
    api: Api
    credentials: _Credentials

    async def reload(self) -> None:
        self.credentials.renew()
        await self.policies.reload()
        _log.info("the settings were read again")


def _joined(
    plan: Plan, clock: Clock, credentials: _Credentials, *, upstream: Upstream, book: UsageBook
) -> _Joined:
    state = plan.paths.state_file
    store = JsonFileStore(file=state, locks=plan.paths.locks, clock=clock)
    spending = Spending(book)
    policies = Policies(
        upstream=upstream.base,
        settings_file=plan.settings_file,
        tenants=TenantBook(store=store, file=state),
        spending=spending,
        groups=Groups(environment=plan.environment, home=plan.paths.home),
        applied=credentials.apply,
    )
    api = Api(credentials=credentials, upstream=upstream, clock=clock, spent=spending.add)
    return _Joined(policies, api, credentials)


@contextlib.contextmanager
def _told_to_reload(joined: _Joined) -> Iterator[None]:
    """Read the settings again on SIGHUP."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(
        signal.SIGHUP, lambda: tasks.spawn(joined.reload(), name="proxy settings")
    )
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)


@contextlib.contextmanager
def _tidy(log: Path | None) -> Iterator[None]:
    """Keep the log small while the block runs."""
    loop = asyncio.get_running_loop()
    timer: list[asyncio.TimerHandle] = []

    def look() -> None:
        if log is not None:
            keep_output_small(log, largest=LARGEST_LOG)
            timer[:] = [loop.call_later(_TIDIED_EACH_S, look)]

    look()
    try:
        yield
    finally:
        for each in timer:
            each.cancel()


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
