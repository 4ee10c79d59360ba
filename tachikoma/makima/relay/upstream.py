"""The relay's connection to its server: kept as long as that can be, and revived when asked to."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any
from uuid import UUID

import aiohttp

from tachikoma.host import tasks
from tachikoma.host.clock import Clock
from tachikoma.makima.commands import Command
from tachikoma.makima.connection import Connection, ToBeSaid, log
from tachikoma.makima.link import connect, failure_of
from tachikoma.makima.messages import DaemonDirectories
from tachikoma.makima.relay.settings import LONGEST_PAUSE_S
from tachikoma.makima.session import Effects, Identity, Level, Reconnect, Session, Stop, Tell
from tachikoma.makima.settings import ServerSettings
from tachikoma.model.errors_fleet import MakimaError

DIRECTORIES = DaemonDirectories(
    working_directory="~",
    home_directory="~/.makima/home",
    worktrees_directory="~/.makima/worktrees",
)
"""What the server is told of all daemons behind the relay: their defaults, which hold wherever the
``~`` comes to be expanded.
"""

FORGET_EACH_S = 0.1

_log = logging.getLogger(__name__)


class Upstream:
    """Speaks with the server while `run` runs: ``take`` gets its commands, ``kept`` waits until
    those are on disk, ``note`` is told when it comes and goes, with a word for the kind.
    """

    def __init__(  # noqa: PLR0913 - what meets in a connection
        self,
        *,
        settings: ServerSettings,
        outbox: ToBeSaid,
        clock: Clock,
        identity: Identity,
        take: Callable[[Command], Awaitable[None]],
        kept: Callable[[], Awaitable[None]],
        active: Callable[[], Sequence[UUID]],
        note: Callable[[str, str], None],
    ) -> None:
        self._settings = settings
        self._outbox = outbox
        self._clock = clock
        self._identity = identity
        self._take = take
        self._kept = kept
        self._active = active
        self._note = note
        self._revived = asyncio.Event()
        self._session = self._fresh()
        self._connection: Connection | None = None
        self.attempts = 0
        """How many connections were tried since the relay was started."""

    @property
    def daemon_id(self) -> UUID | None:
        """What the server calls the relay; None while it is not connected."""
        return None if self._connection is None else self._session.daemon_id

    def reconnect(self) -> None:
        """Leave the connection if there is one, forget all failures, and connect anew."""
        self._revived.set()

    async def run(self) -> None:
        """Stay connected until cancelled. When cancelled it says for some seconds at most what is
        left to be said, and closes the connection in good order.

        Raises:
            ExceptionGroup: of what the outbox failed with.
        """
        async with aiohttp.ClientSession() as client:
            while True:
                self._revived.clear()
                self._session = self._fresh()
                error = await self._until_revived(self._stay(client))
                if error is None:
                    continue
                _log.error("%s; %s", error.message, error.hint)
                self._note("upstream_given_up", f"{error.message}; POST /reconnect tries again")
                await self._revived.wait()

    def _fresh(self) -> Session:
        return Session(
            settings=self._settings,
            identity=self._identity,
            directories=DIRECTORIES,
            chance=random.random,
            longest_pause_s=LONGEST_PAUSE_S,
        )

    async def _until_revived(
        self, staying: Coroutine[Any, Any, MakimaError | None]
    ) -> MakimaError | None:
        """Give what ended it, or None if somebody wants it anew."""
        work = tasks.spawn(staying, name="relay's server")
        anew = tasks.spawn(_until(self._revived), name="relay's revival")
        try:
            await asyncio.wait({work, anew}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                ended: MakimaError | None = work.result()
                return ended
            self._note("reconnect", "a new connection to the server was asked for")
            return None
        finally:
            await tasks.end(anew)
            if not work.done():
                if self._connection is not None:
                    await self._connection.leave()
                await tasks.end(work)

    async def _stay(self, client: aiohttp.ClientSession) -> MakimaError | None:
        """Stay connected; give what ended it, or None if we left."""
        while effects := await self._once(client):
            for effect in effects:
                match effect:
                    case Tell(level, text):
                        self._tell(level, text)
                    case Stop(error):
                        return error
                    case Reconnect(after_s):
                        await self._clock.sleep(after_s)
                    case _:
                        raise AssertionError(f"{effect} without a connection")
        return None

    async def _once(self, client: aiohttp.ClientSession) -> Effects:
        self.attempts += 1
        try:
            channel = await connect(client, self._settings.url, proxy=None)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            return self._session.failed(failure_of(error))
        self._connection = Connection(
            channel=channel,
            session=self._session,
            book=self._outbox,
            clock=self._clock,
            beat_s=self._settings.heartbeat_interval_secs,
            active=self._active,
            take=self._take,
            kept=self._kept,
            tell=self._tell,
            forget_each_s=FORGET_EACH_S,
        )
        try:
            return await self._connection.run()
        finally:
            self._connection = None

    def _tell(self, level: Level, text: str) -> None:
        log(level, text)
        kind = "upstream_connected" if level == "info" else "upstream_trouble"
        self._note(kind, text)


async def _until(event: asyncio.Event) -> None:
    await event.wait()
