"""The edge of the proxy: sockets in, one decision for each request, one line in the ledger."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self, assert_never

from aiohttp import web

from tachikoma.credentials.waterfall import Waterfall
from tachikoma.host.clock import Clock
from tachikoma.model.errors import NoCredentialError, ProxyError, ProxyPortError
from tachikoma.model.vm import Endpoint
from tachikoma.proxy import answers
from tachikoma.proxy.ledger import Entry, RequestLedger, Verdict
from tachikoma.proxy.route import Deny, Forward, Health, Hello, Policy, RequestHead, route
from tachikoma.proxy.tenants import Tenants
from tachikoma.proxy.upstream import Upstream

_LARGEST_HEADER = 64 << 10
_CHUNK = 256 << 10
_IDLE_S = 3600.0
_LINGER_S = 2.0
"""How long the rest of a refused body is read, so that the client sees the answer."""
_CUT_S = 0.5
_BACKLOG = 512

_log = logging.getLogger(__name__)
_noise = logging.getLogger(f"{__name__}.http")
_noise.setLevel(logging.CRITICAL)  # what strangers send wrongly; it may quote what they sent


@dataclass(frozen=True, slots=True)
class Parts:
    """What a proxy is made of.

    ``tenants`` gives the live tokens of the moment; ``on_health`` is called for every probe.
    """

    credentials: Waterfall
    tenants: Callable[[], Awaitable[Tenants | None]]
    upstream: Upstream
    ledger: RequestLedger
    clock: Clock
    on_health: Callable[[], Awaitable[None]]


class ProxyServer:
    """Listens on ``endpoint`` (port 0: any) and serves until it is closed.

    If starting fails, nothing listens. On stop it listens no more, closes idle connections,
    lets requests finish for ``drain_s``, then breaks off what is left.
    """

    def __init__(self, *, endpoint: Endpoint, instance: str, drain_s: float, parts: Parts) -> None:
        self._asked = endpoint
        self._instance = instance
        self._parts = parts
        self._drain_s = drain_s
        self._web: web.Server | None = None
        self._listener: asyncio.Server | None = None
        self._busy = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def endpoint(self) -> Endpoint:
        """Where it listens."""
        assert self._listener is not None
        host, port = self._listener.sockets[0].getsockname()[:2]
        return Endpoint(host, port)

    async def __aenter__(self) -> Self:
        """Bind and listen.

        Raises:
            ProxyPortError: the port is taken.
            ProxyError: the address is not one of this machine.
        """
        self._web = web.Server(
            self._serve,
            handler_cancellation=True,
            auto_decompress=False,
            access_log=None,
            logger=_noise,
            keepalive_timeout=_IDLE_S,
            lingering_time=_LINGER_S,
            read_bufsize=_CHUNK,
            max_line_size=_LARGEST_HEADER,
            max_field_size=_LARGEST_HEADER,
        )
        loop = asyncio.get_running_loop()
        try:
            self._listener = await loop.create_server(
                self._web, self._asked.host, self._asked.port, backlog=_BACKLOG
            )
        except OSError as error:
            raise _not_bound(error, self._asked) from error
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop as the class promises."""
        assert self._web is not None
        self.stop_listening()
        self._web.pre_shutdown()
        try:
            async with asyncio.timeout(self._drain_s):
                await self._idle.wait()
        except TimeoutError:
            _log.warning("%d requests were broken off", self._busy)
        await self._web.shutdown(_CUT_S)

    def stop_listening(self) -> None:
        """Give the port back at once."""
        assert self._listener is not None
        self._listener.close()

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, whatever happens, and record it."""
        clock = self._parts.clock
        entry = Entry(clock.now(), clock.monotonic(), request.method, request.raw_path)
        self._busy += 1
        self._idle.clear()
        try:
            return await self._answer(request, entry)
        except ConnectionError:
            raise  # the client is gone: the entry says abandoned already
        except Exception:  # noqa: BLE001 - a front door: the fault is logged, the others live on
            _log.exception("a request failed inside the proxy")
            entry.verdict, entry.why = Verdict.FAILED, "internal error"
            if request.writer.output_size and request.transport is not None:
                request.transport.close()  # an answer has begun; it must not look whole
            return answers.error(500, "api_error", "internal error", retry=False)
        finally:
            self._busy -= 1
            if not self._busy:
                self._idle.set()
            entry.duration_s = clock.monotonic() - entry.began
            if entry.verdict is not Verdict.PROBED:
                self._parts.ledger.add(entry)

    async def _answer(self, request: web.BaseRequest, entry: Entry) -> web.StreamResponse:
        head = RequestHead(request.method, request.raw_path, tuple(request.headers.items()))
        policy = Policy(self._parts.upstream.base, await self._parts.tenants())
        match decision := route(head, policy):
            case Health():
                await self._parts.on_health()
                entry.verdict = Verdict.PROBED
                return answers.health(self._instance)
            case Hello():
                entry.status, entry.verdict = 200, Verdict.ANSWERED
                return answers.hello()
            case Deny(status=status, kind=kind, why=why, retry=retry, vm=vm):
                entry.vm, entry.status, entry.why = vm, status, why
                entry.verdict = Verdict.DENIED
                return answers.error(status, kind, why, retry=retry)
            case Forward():
                return await self._forward(request, decision, entry)
            case _:
                assert_never(decision)

    async def _forward(
        self, request: web.BaseRequest, forward: Forward, entry: Entry
    ) -> web.StreamResponse:
        entry.vm = forward.vm
        try:
            credential = await self._parts.credentials.current()
        except NoCredentialError as error:
            _log.warning("%s: %s", error.message, error.hint)
            entry.status, entry.why = 503, error.message
            entry.verdict = Verdict.FAILED
            why = f"{error.message}; `tachikoma credentials` on the host tells more"
            return answers.error(503, "api_error", why, retry=False)
        if request.headers.get("Expect", "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0
        response = await self._parts.upstream.relay(request, forward, credential, entry)
        if entry.status == 401:
            self._parts.credentials.forget(credential)
        return response


def _not_bound(error: OSError, asked: Endpoint) -> ProxyError:
    if error.errno == errno.EADDRINUSE:
        return ProxyPortError(
            f"{asked} is taken by another program",
            hint=f"find it with `ss -ltnp sport = :{asked.port}` and end it, or set "
            "credential_proxy_port to another port",
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return ProxyError(
            f"{asked.host} is not an address of this machine",
            hint="set credential_proxy_bind to one that the VMs reach (`ip addr` lists them)",
        )
    return ProxyError(
        f"the proxy cannot listen on {asked}: {error.strerror or error}",
        hint="set credential_proxy_port or credential_proxy_bind to another value",
    )
