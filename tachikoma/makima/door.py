"""The door through which orchestrators reach the server's API, and nothing else of it or of the
network: a VM has no other way to the server.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable
from types import TracebackType
from typing import Self
from urllib.parse import unquote, urlsplit, urlunsplit

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from tachikoma.model.vm import Endpoint

_log = logging.getLogger(__name__)
_HOST = "127.0.0.1"
_ANSWER_S = 600.0
_CONNECT_S = 30.0
_LARGEST = 16 << 20
_PIECE = 1 << 16
_HOP_BY_HOP = {
    *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection"),
    *("te", "trailer", "transfer-encoding", "upgrade", "host", "content-length"),
}


def http_base(url: str) -> str:
    """Give the HTTP URL of the server whose WebSocket is at ``url``: its origin."""
    parts = urlsplit(url)
    scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
    return urlunsplit((scheme, parts.netloc, "", "", ""))


def handed_on(headers: Iterable[tuple[str, str]]) -> CIMultiDict[str]:
    """Give the headers that concern both ends, without those of one connection."""
    pairs = list(headers)
    named = {
        name.strip().lower()
        for key, value in pairs
        if key.lower() == "connection"
        for name in value.split(",")
    }
    dropped = _HOP_BY_HOP | named
    return CIMultiDict((key, value) for key, value in pairs if key.lower() not in dropped)


def leads_out(raw_path: str) -> bool:
    """Tell whether a path as it was sent has steps that a server may take out of ``/api/``."""
    steps = unquote(raw_path.partition("?")[0]).replace("\\", "/").split("/")
    return not {".", ".."}.isdisjoint(steps)


class Door:
    """Listens on the loopback of this host and hands requests for ``/api/`` on to ``server``.

    It adds nothing: who comes needs a key that the server knows. If starting fails, nothing
    listens. On stop, requests under way are cut.
    """

    def __init__(self, server: str) -> None:
        self._server = server.rstrip("/")
        self._rest = contextlib.AsyncExitStack()
        self._endpoint: Endpoint | None = None

    @property
    def endpoint(self) -> Endpoint:
        """Where it listens."""
        assert self._endpoint is not None, "the door is entered before it is used"
        return self._endpoint

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as rest:
            self._client = await rest.enter_async_context(
                aiohttp.ClientSession(
                    timeout=aiohttp.ClientTimeout(total=_ANSWER_S, sock_connect=_CONNECT_S),
                    auto_decompress=False,
                    cookie_jar=aiohttp.DummyCookieJar(),
                )
            )
            application = web.Application(client_max_size=_LARGEST)
            application.router.add_route("*", "/api/{rest:.*}", self._hand_on)
            runner = web.AppRunner(application, access_log=None, shutdown_timeout=0)
            await runner.setup()
            rest.push_async_callback(runner.cleanup)
            site = web.TCPSite(runner, _HOST, 0)
            await site.start()
            self._endpoint = Endpoint(_HOST, runner.addresses[0][1])
            self._rest = rest.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._rest.aclose()

    async def _hand_on(self, request: web.Request) -> web.StreamResponse:
        if leads_out(request.raw_path):
            raise web.HTTPNotFound
        try:
            body = await request.read()
            async with self._client.request(
                request.method,
                URL(f"{self._server}{request.raw_path}", encoded=True),
                headers=handed_on(request.headers.items()),
                data=body or None,
                allow_redirects=False,
            ) as answer:
                given = web.StreamResponse(
                    status=answer.status, headers=handed_on(answer.headers.items())
                )
                await given.prepare(request)
                async for piece in answer.content.iter_chunked(_PIECE):
                    await given.write(piece)
                await given.write_eof()
                return given
        except (aiohttp.ClientError, TimeoutError) as error:
            _log.warning("the server's API was not reached: %s", str(error) or type(error).__name__)
            raise web.HTTPBadGateway(text="the server was not reached\n") from error
