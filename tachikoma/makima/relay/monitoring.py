"""The relay's HTTP side: how it is, what it did, and the path on which daemons connect."""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from aiohttp import web

from tachikoma.makima.relay.entries import Entry, Event
from tachikoma.makima.relay.figures import CONTENT_TYPE
from tachikoma.makima.relay.openapi import (
    DEFAULT_LIMIT,
    MOST_EVENTS,
    MOST_OFFSET,
    MOST_TASKS,
    document,
)
from tachikoma.makima.relay.service import Relay, timestamp
from tachikoma.makima.relay.settings import PATH

LONGEST_BODY = 1024
_NUMBER = re.compile(r"[0-9]{1,10}")
_OPEN_PATHS = frozenset({"/health", PATH})
_BEHIND_A_PROXY = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Access:
    """Who may look: everybody on this host, if the relay is ``local``, and who has a key."""

    local: bool
    keys: tuple[bytes, ...]

    def is_allowed(self, request: web.Request) -> bool:
        """Tell whether this request may be answered."""
        return self._is_of_this_host(request) or self._has_key(request)

    def _is_of_this_host(self, request: web.Request) -> bool:
        """A page of another site that calls itself this host, and what came through a proxy, is
        not.
        """
        return (
            self.local
            and is_loopback(_host(request.headers.get("Host", "")))
            and not any(name in request.headers for name in _BEHIND_A_PROXY)
        )

    def _has_key(self, request: web.Request) -> bool:
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        given = key.strip().encode("utf-8", "replace")
        found = sum(hmac.compare_digest(given, each) for each in self.keys)
        return scheme.lower() == "bearer" and found > 0


class Monitoring:
    """The handlers; `application` joins them."""

    def __init__(self, relay: Relay, access: Access) -> None:
        self._relay = relay
        self._access = access

    def application(self) -> web.Application:
        """Give what aiohttp serves."""
        application = web.Application(middlewares=[self._guard], client_max_size=LONGEST_BODY)
        application.router.add_get("/", self._status)
        application.router.add_get("/status", self._status)
        application.router.add_get("/health", self._health)
        application.router.add_get("/tasks", self._tasks)
        application.router.add_get("/logs", self._logs)
        application.router.add_post("/reconnect", self._reconnect)
        application.router.add_get("/metrics", self._metrics)
        application.router.add_get("/openapi.json", self._openapi)
        application.router.add_get(PATH, self._relay.downstream.serve, allow_head=False)
        return application

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let in who may, and tell every refusal as JSON."""
        if request.path not in _OPEN_PATHS and not self._access.is_allowed(request):
            return _refused(
                401,
                "unauthorized",
                "send an API key of a daemon: `Authorization: Bearer KEY`",
                {"WWW-Authenticate": 'Bearer realm="makima relay"'},
            )
        if request.method not in {"GET", "HEAD"} and not _is_of_this_site(request):
            return _refused(403, "cross_site", "a page of another site may not ask for this")
        try:
            answer = await handler(request)
        except _BadParameterError as error:
            return _refused(400, "bad_request", str(error))
        except web.HTTPException as error:
            allowed = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
            code = "_".join(error.reason.lower().split())
            return _refused(error.status, code, error.reason, allowed)
        if not answer.prepared:
            answer.headers["Cache-Control"] = "no-store"
            answer.headers["X-Content-Type-Options"] = "nosniff"
        return answer

    async def _status(self, request: web.Request) -> web.Response:
        del request
        relay = self._relay
        up = relay.upstream.daemon_id
        heartbeat = relay.last_heartbeat
        return web.json_response(
            {
                "status": "disconnected" if up is None else "ok",
                "agentName": relay.name,
                "upstreamConnected": up is not None,
                "daemonId": None if up is None else str(up),
                "lastHeartbeat": None if heartbeat is None else timestamp(heartbeat),
                "connectedDaemons": relay.board.connected,
                "activeTasks": relay.board.active_count,
                "totalTasksProcessed": relay.board.processed,
            }
        )

    async def _health(self, request: web.Request) -> web.Response:
        del request
        healthy = self._relay.healthy
        up = self._relay.upstream.daemon_id is not None
        return web.json_response(
            {"healthy": healthy, "upstreamConnected": up}, status=200 if healthy else 503
        )

    async def _tasks(self, request: web.Request) -> web.Response:
        limit = _number(request, "limit", least=1, most=MOST_TASKS, default=DEFAULT_LIMIT)
        offset = _number(request, "offset", least=0, most=MOST_OFFSET, default=0)
        found, total = await self._relay.store.tasks(limit=limit, offset=offset)
        tasks = [self._task(each) for each in found]
        return web.json_response({"tasks": tasks, "total": total, "limit": limit, "offset": offset})

    def _task(self, entry: Entry) -> dict[str, object]:
        machine = self._relay.board.machines.get(entry.machine or "")
        return {
            "taskId": str(entry.id),
            "taskName": entry.name,
            "status": entry.status.value,
            "daemonId": None if machine is None else str(machine.row.daemon_id),
            "receivedAt": timestamp(entry.received),
            "dispatchedAt": None if entry.dispatched is None else timestamp(entry.dispatched),
            "completedAt": None if entry.ended is None else timestamp(entry.ended),
            "error": entry.error or None,
        }

    async def _logs(self, request: web.Request) -> web.Response:
        limit = _number(request, "limit", least=1, most=MOST_EVENTS, default=DEFAULT_LIMIT)
        found = await self._relay.store.events(limit=limit)
        return web.json_response({"logs": list(_told(found)), "limit": limit})

    async def _reconnect(self, request: web.Request) -> web.Response:
        del request
        self._relay.upstream.reconnect()
        return web.json_response({"status": "reconnecting"}, status=202)

    async def _metrics(self, request: web.Request) -> web.Response:
        del request
        up = self._relay.upstream.daemon_id is not None
        text = self._relay.figures.text(connected=up)
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE})

    async def _openapi(self, request: web.Request) -> web.Response:
        del request
        return web.json_response(document())


class _BadParameterError(Exception):
    """A query parameter cannot be used; says why."""


def is_loopback(host: str) -> bool:
    """Tell whether a name or address is that of this host to itself."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _told(events: Iterable[Event]) -> Iterable[dict[str, str]]:
    for each in events:
        yield {"timestamp": timestamp(each.at), "event": each.kind, "message": each.text}


def _host(header: str) -> str:
    """Give the name or address in a Host header, "" if there is none."""
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""


def _is_of_this_site(request: web.Request) -> bool:
    """Tell that no page of another site is behind a request; programs send no Origin."""
    origin = request.headers.get("Origin")
    if origin is None:
        return request.headers.get("Sec-Fetch-Site", "same-origin") in {"same-origin", "none"}
    try:
        return urlsplit(origin).netloc == request.headers.get("Host")
    except ValueError:
        return False


def _number(request: web.Request, name: str, *, least: int, most: int, default: int) -> int:
    """Give a query parameter.

    Raises:
        _BadParameterError: it is no whole number in its bounds, or comes twice.
    """
    given = request.query.getall(name, [])
    if not given:
        return default
    if len(given) == 1 and _NUMBER.fullmatch(given[0]) and least <= int(given[0]) <= most:
        return int(given[0])
    raise _BadParameterError(f"{name}: a whole number from {least} to {most}")


def _refused(
    status: int, code: str, message: str, headers: dict[str, str] | None = None
) -> web.Response:
    return web.json_response(
        {"error": {"code": code, "message": message}}, status=status, headers=headers
    )
