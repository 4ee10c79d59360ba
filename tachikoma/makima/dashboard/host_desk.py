"""What pages ask about the server's own machine: its VMs, and the ledger of its proxy.

These two endpoints are the pages' own, no part of the API and its document: what they tell depends
on where the server runs, and may change with the pages.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Annotated

from aiohttp import web
from pydantic import Field

from tachikoma.host.clock import Clock
from tachikoma.makima.dashboard.port import HostRequests, HostView, HostVm
from tachikoma.makima.server.checking import query_of
from tachikoma.makima.server.front import COOKIE
from tachikoma.makima.server.keyring import Keyring
from tachikoma.makima.server.shapes import LARGEST_PAGE, Shape
from tachikoma.model.errors import TachikomaError
from tachikoma.model.errors_fleet import RequestError

_FRESH_S = 2.0
"""So long an answer is good: many who look cost the machine what one does."""


class RequestsQuery(Shape):
    """Which requests."""

    limit: Annotated[int, Field(ge=1, le=LARGEST_PAGE)] = 200
    denied: bool = False
    vm: Annotated[str | None, Field(max_length=200)] = None


class HostDesk:
    """Answers who is signed in."""

    def __init__(self, keyring: Keyring, clock: Clock, host: HostView | None) -> None:
        self._keyring = keyring
        self._clock = clock
        self._host = host
        self._lock = asyncio.Lock()
        self._vms: tuple[HostVm, ...] = ()
        self._asked_at = float("-inf")

    def add_to(self, app: web.Application) -> None:
        """Add the endpoints."""
        app.router.add_get("/dashboard/vms", self._guarded(self._show_vms))
        app.router.add_get("/dashboard/requests", self._guarded(self._show_requests))

    def _guarded(
        self, show: Callable[[web.Request], Awaitable[dict[str, object]]]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handler(request: web.Request) -> web.Response:
            secret = request.cookies.get(COOKIE)
            if not secret or await self._keyring.session(secret) is None:
                raise RequestError("nobody is signed in", status=401, reason="unauthorized")
            try:
                told = await show(request)
            except RequestError:
                raise
            except TachikomaError as error:
                raise RequestError(
                    f"this machine cannot tell: {error.message}",
                    status=503,
                    reason="unavailable",
                    hint=error.hint or "",
                ) from error
            return web.Response(text=json.dumps(told), content_type="application/json")

        return handler

    async def _show_vms(self, _: web.Request) -> dict[str, object]:
        if self._host is None:
            return {"here": False, "hostname": "", "items": []}
        async with self._lock:
            if self._clock.monotonic() - self._asked_at >= _FRESH_S:
                self._vms = await self._host.vms()
                self._asked_at = self._clock.monotonic()
        items = [each.model_dump(mode="json", by_alias=True) for each in self._vms]
        return {"here": True, "hostname": self._host.hostname, "items": items}

    async def _show_requests(self, request: web.Request) -> dict[str, object]:
        query = query_of(RequestsQuery, list(request.query.items()))
        assert isinstance(query, RequestsQuery)
        if self._host is None:
            return {"here": False, "proxy": None, "items": [], "deniedHosts": []}
        found: HostRequests = await self._host.requests(
            most=query.limit, denied=query.denied, vm=query.vm or None
        )
        return {"here": True, **found.model_dump(mode="json", by_alias=True)}
