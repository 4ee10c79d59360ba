"""Tells subscribers when a resource changes, also when another process changed it.

Looked at once a second while somebody has subscribed, and not at all otherwise; what this
server's own tools did is told at once. Clients of both protocol eras are served: a subscription
of the handshake era is the session that asked, one of the newer era listens at ``bus``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from mcp.server.session import ServerSession
from mcp.server.subscriptions import (
    InMemorySubscriptionBus,
    ResourcesListChanged,
    ResourceUpdated,
    ServerEvent,
)

from tachikoma.host import tasks
from tachikoma.host.clock import Clock
from tachikoma.mcp.resources import Library
from tachikoma.model.errors import TachikomaError

_LOOK_EVERY_S = 1.0
_log = logging.getLogger(__name__)


class Watch:
    """Who has subscribed to what, and what it looked like when it was last seen."""

    def __init__(self, library: Library, clock: Clock) -> None:
        self.bus = InMemorySubscriptionBus()
        self._library = library
        self._clock = clock
        self._wanted: Counter[str] = Counter()
        self._sessions: dict[str, ServerSession] = {}
        self._seen: dict[str, str] = {}
        self._names: list[str] | None = None
        self._session: ServerSession | None = None
        self._somebody = asyncio.Event()

    @asynccontextmanager
    async def looking(self) -> AsyncIterator[None]:
        """Look while the block runs."""
        looking = tasks.spawn(self._look_again_and_again(), name="mcp watch")
        try:
            yield
        finally:
            await tasks.end(looking)

    async def subscribe(self, uri: str, session: ServerSession) -> None:
        """Tell ``session`` when ``uri`` changes from now on. Idempotent."""
        if uri not in self._sessions:
            await self._want([uri])
        self._sessions[uri] = session

    def unsubscribe(self, uri: str) -> None:
        """Tell no session of ``uri`` any more. Idempotent."""
        if self._sessions.pop(uri, None) is not None:
            self._no_longer([uri])

    @asynccontextmanager
    async def listening(self, uris: Iterable[str]) -> AsyncIterator[None]:
        """Look at ``uris`` while somebody listens at the bus."""
        wanted = list(uris)
        await self._want(wanted)
        try:
            yield
        finally:
            self._no_longer(wanted)

    async def changed(self, session: ServerSession) -> None:
        """Look now: a tool of ours was at work. ``session`` hears of a changed list."""
        self._session = session
        try:
            names = list(await self._library.names())
            if names != self._names:
                self._names = names
                await self._tell(ResourcesListChanged())
            await self._look()
        except TachikomaError as error:
            _log.info("the VMs cannot be looked at: %s", error)

    async def _look_again_and_again(self) -> None:
        while True:
            await self._somebody.wait()
            with contextlib.suppress(TachikomaError):
                await self._look()
            await self._clock.sleep(_LOOK_EVERY_S)

    async def _look(self) -> None:
        for uri in list(self._wanted):
            mark = await self._library.mark(uri)
            if mark != self._seen.get(uri, mark):
                self._seen[uri] = mark
                await self._tell(ResourceUpdated(uri))

    async def _tell(self, event: ServerEvent) -> None:
        await self.bus.publish(event)
        if isinstance(event, ResourceUpdated):
            if (session := self._sessions.get(event.uri)) is not None:
                await session.send_resource_updated(event.uri)
        elif self._session is not None:
            await self._session.send_resource_list_changed()

    async def _want(self, uris: list[str]) -> None:
        for uri in uris:
            self._seen.setdefault(uri, await self._library.mark(uri))
        self._wanted.update(uris)
        if self._wanted:
            self._somebody.set()

    def _no_longer(self, uris: Iterable[str]) -> None:
        self._wanted.subtract(uris)
        self._wanted += Counter()  # leaves those out that nobody wants
        for uri in set(self._seen) - set(self._wanted):
            del self._seen[uri]
        if not self._wanted:
            self._somebody.clear()
