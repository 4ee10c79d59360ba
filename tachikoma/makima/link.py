"""The only WebSocket client: keeps the daemon connected to its server, and the outbox flowing."""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

import aiohttp

from tachikoma.host.clock import Clock
from tachikoma.makima.book import Book
from tachikoma.makima.commands import Command
from tachikoma.makima.connection import CLOSE_S, LEVELS, Connection
from tachikoma.makima.messages import DaemonDirectories
from tachikoma.makima.session import Effects, Failure, Identity, Reconnect, Session, Stop, Tell
from tachikoma.makima.settings import ServerSettings
from tachikoma.model.errors import TachikomaError
from tachikoma.model.errors_fleet import MakimaConfigError, MakimaError

CONNECT_S = 20.0
MOST_COMMANDS = 64
"""Commands that wait to be performed; then the server has to wait."""
MOST_FRAME_BYTES = 256 * 1024 * 1024
"""No frame is longer than this: here the memory of the host is at stake, and the connection ends.
What is shorter, and too long to be a command, is read and dropped.
"""

_CHECK = "see that the server runs and that this host reaches it"
_NO_MAKIMA = "is it a makima server, and is server.url right?"
_TLS = "a certificate of your own is made known by SSL_CERT_FILE; wss:// needs a server with TLS"
_HINTS = {
    404: "check the path in server.url: without one it is /ws/daemon",
    407: "the proxy on the way wants a login",
    429: "the server is asked too often",
}

_log = logging.getLogger(__name__)


class Link:
    """Speaks with the server for as long as `run` runs.

    Commands are performed one after the other, in the order in which they came; what a command
    takes long for, ``perform`` leaves to somebody else. A ping of the server is answered when those
    before it have been performed. ``active`` tells what is worked on.
    ``proxy`` is the HTTP proxy to go through; the environment is not asked.
    """

    def __init__(  # noqa: PLR0913 - what a daemon joins here has these parts
        self,
        *,
        settings: ServerSettings,
        book: Book,
        clock: Clock,
        identity: Identity,
        directories: DaemonDirectories,
        perform: Callable[[Command], Awaitable[None]],
        active: Callable[[], Sequence[UUID]],
        proxy: str | None = None,
    ) -> None:
        self._settings = settings
        self._book = book
        self._clock = clock
        self._perform = perform
        self._active = active
        self._proxy = proxy
        self._session = Session(
            settings=settings, identity=identity, directories=directories, chance=random.random
        )
        self._commands: asyncio.Queue[Command] = asyncio.Queue(MOST_COMMANDS)
        self._connection: Connection | None = None
        self._leaving = False

    async def run(self) -> None:
        """Stay connected until cancelled.

        When cancelled, it says for some seconds at most what is left to be said, and closes the
        connection in good order. What was not said is in the book.

        Raises:
            RefusedError: the server does not let this daemon in.
            UnreachableError: the server was not reached in as many attempts as are allowed.
            MakimaConfigError: the URL is none.
            BookError: the book cannot be read.
        """
        async with asyncio.TaskGroup() as group:
            performing = group.create_task(self._perform_all(), name="makima commands")
            staying = group.create_task(self._until_error(), name="makima connection")
            try:
                error = await asyncio.shield(staying)
            except asyncio.CancelledError:
                self._leaving = True
                if self._connection is not None:
                    await self._connection.leave()
                if not self._commands.empty():
                    _log.warning("%d commands were not begun", self._commands.qsize())
                raise
            performing.cancel()
        assert error is not None
        raise error

    async def _until_error(self) -> TachikomaError | None:
        """Stay connected; give what ended it, as a value: a group of tasks would wrap it. None if
        we left.
        """
        ended: TachikomaError | None = None
        try:
            async with aiohttp.ClientSession() as client:
                while ended is None and not self._leaving:
                    ended = await self._follow(await self._once(client))
        except* TachikomaError as group:
            ended = _first(group)
        return ended

    async def _follow(self, effects: Effects) -> MakimaError | None:
        """Do what comes between two connections; give the error that ends it all."""
        for effect in effects:
            match effect:
                case Tell(level, text):
                    _log.log(LEVELS[level], "%s", text)
                case Stop(error):
                    return error
                case Reconnect(after_s):
                    await self._clock.sleep(after_s)
                case _:
                    raise AssertionError(f"{effect} without a connection")
        return None

    async def _once(self, client: aiohttp.ClientSession) -> Effects:
        """Connect and stay so while it lasts; give what comes after."""
        try:
            channel = await connect(client, self._settings.url, proxy=self._proxy)
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
            raise MakimaConfigError(
                f"{self._settings.url!r} is no URL of a server",
                hint="set server.url to something like wss://makima.example",
            ) from error
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            return self._session.failed(failure_of(error))
        self._connection = Connection(
            channel=channel,
            session=self._session,
            book=self._book,
            clock=self._clock,
            beat_s=self._settings.heartbeat_interval_secs,
            active=self._active,
            take=self._commands.put,
            kept=self._commands.join,
        )
        try:
            return await self._connection.run()
        finally:
            self._connection = None

    async def _perform_all(self) -> None:
        while True:
            command = await self._commands.get()
            try:
                await self._perform(command)
            except TachikomaError as error:
                _log.warning("%s: %s; %s", command.type, error.message, error.hint)
            except Exception:  # noqa: BLE001 - a front door: the other tasks of this daemon go on
                _log.exception("a fault of tachikoma's in performing %s", command.type)
            finally:
                self._commands.task_done()


async def connect(
    client: aiohttp.ClientSession, url: str, *, proxy: str | None
) -> aiohttp.ClientWebSocketResponse[bool]:
    """Open a WebSocket for a `Connection`.

    Raises:
        aiohttp.ClientError, OSError, TimeoutError, ValueError: as `failure_of` tells them.
    """
    async with asyncio.timeout(CONNECT_S):
        return await client.ws_connect(
            url,
            # Frames of what is no UTF-8 are ours to drop, pings ours to count.
            decode_text=False,
            autoping=False,
            max_msg_size=MOST_FRAME_BYTES,
            proxy=proxy,
            timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_S),
        )


def failure_of(error: Exception) -> Failure:
    """Say in words why no connection came about, and what helps."""
    if isinstance(error, aiohttp.WSServerHandshakeError):
        status = error.status
        hint = _HINTS.get(status, "see the log of the server" if status >= 500 else _NO_MAKIMA)
        return Failure(f"it answers HTTP {status}, not as a WebSocket", hint, status)
    return Failure(*_told(error))


def _told(error: Exception) -> tuple[str, str]:
    match error:
        case aiohttp.ClientConnectorDNSError(host=host):
            return f"there is no address of {host}", "check server.url, and the DNS of this host"
        case aiohttp.ClientConnectorCertificateError(certificate_error=why):
            return f"its certificate is not accepted: {why}", _TLS
        case aiohttp.ClientSSLError():
            return f"TLS failed: {error}", _TLS
        case TimeoutError():
            return f"no answer within {CONNECT_S:.0f} s", _CHECK
        case aiohttp.ClientConnectorError(os_error=why):
            return (os.strerror(why.errno) if why.errno else str(why)).lower(), _CHECK
        case _:
            return str(error) or type(error).__name__, _CHECK


def _first(group: BaseExceptionGroup[TachikomaError]) -> TachikomaError:
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    assert isinstance(found, TachikomaError)
    return found
