"""The way to the API: connections that are kept, over TLS, through the host's own proxy if need be.

Redirects are not followed and cookies are not kept: what comes back goes to the client.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Mapping
from types import TracebackType
from typing import Self
from urllib.parse import unquote, urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # not in typeshed

from tachikoma.model.errors import ProxyError
from tachikoma.proxy import http1
from tachikoma.proxy.http1 import Malformed
from tachikoma.proxy.wire import GoneError, Wire

_CONNECT_S = 30.0
_KEPT_S = 30.0
"""How long a connection is kept: shorter than any server would, so that none is found closed."""
_MOST_KEPT = 256
_EXTRA_CA = ("SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS")
_PORTS = {"http": 80, "https": 443}


def egress_proxy(environment: Mapping[str, str], upstream: str) -> str | None:
    """Give the proxy through which this host reaches ``upstream``, by HTTPS_PROXY and the like.

    Loopback is always reached directly.
    """
    named = {name.lower(): value for name, value in environment.items() if name.isupper()}
    named |= {name: value for name, value in environment.items() if name.islower()}
    proxies = {
        name.removesuffix("_proxy"): value
        for name, value in named.items()
        if name.endswith("_proxy") and value
    }
    parts = urlsplit(upstream)
    host = parts.hostname or ""
    if host in {"localhost", "::1"} or host.startswith("127."):
        return None
    if proxy_bypass_environment(host, proxies):
        return None
    return proxies.get(parts.scheme) or proxies.get("all")


def tls_context(environment: Mapping[str, str]) -> ssl.SSLContext:
    """Give the context that verifies the API's certificate, with the host's own extra CAs.

    Raises:
        ProxyError: a file of certificates that the environment names cannot be used.
    """
    context = ssl.create_default_context()
    for name in _EXTRA_CA:
        if file := environment.get(name):
            try:
                context.load_verify_locations(cafile=file)
            except (OSError, ssl.SSLError) as error:
                raise ProxyError(
                    f"the certificates in {file} cannot be loaded",
                    hint=f"correct or unset {name}",
                ) from error
    return context


class Upstream:
    """Opens connections to the API at ``base``, and keeps them between requests.

    If starting fails, nothing is open. On stop every kept connection is closed.
    """

    def __init__(self, *, base: str, environment: Mapping[str, str]) -> None:
        self.base = base
        parts = urlsplit(base)
        self._tls = tls_context(environment) if parts.scheme == "https" else None
        self._host = parts.hostname or ""
        self._port = parts.port or _PORTS[parts.scheme]
        self.host = parts.netloc
        """What stands in the Host header."""
        proxy = egress_proxy(environment, base)
        self._proxy = None if proxy is None else urlsplit(proxy)
        self._kept: list[tuple[Wire, float]] = []

    async def __aenter__(self) -> Self:
        """Get ready."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close what is kept."""
        while self._kept:
            self._kept.pop()[0].abort()

    def target(self, url: str) -> str:
        """Give what stands in the request line for ``url``, which begins with ``base``."""
        if self._proxy is not None and self._tls is None:
            return url
        parts = urlsplit(self.base)
        return url.removeprefix(f"{parts.scheme}://{parts.netloc}")

    def proxy_headers(self) -> list[tuple[str, str]]:
        """Give what a plain request through the host's own proxy needs besides."""
        return self._proxy_authorization() if self._tls is None else []

    def kept(self) -> Wire | None:
        """Give a connection that was used before, if there is a good one."""
        oldest = asyncio.get_running_loop().time() - _KEPT_S
        while self._kept:
            wire, since = self._kept.pop()
            if wire.usable and not wire.waiting and since > oldest:
                return wire
            wire.close()
        return None

    def keep(self, wire: Wire) -> None:
        """Take back a connection whose last answer is complete."""
        if len(self._kept) < _MOST_KEPT:
            self._kept.append((wire, asyncio.get_running_loop().time()))
        else:
            wire.close()

    async def opened(self) -> Wire:
        """Open a connection.

        Raises:
            OSError: the API, or the host's own proxy, cannot be reached in time; its certificate
                is not right.
        """
        try:
            async with asyncio.timeout(_CONNECT_S):
                if self._proxy is None:
                    return await self._direct(self._host, self._port, self._tls)
                return await self._through_proxy()
        except (GoneError, Malformed) as error:
            raise ConnectionError("the proxy of this host does not open the way") from error

    async def _direct(self, host: str, port: int, tls: ssl.SSLContext | None) -> Wire:
        loop = asyncio.get_running_loop()
        name = host if tls is not None else None
        _, wire = await loop.create_connection(Wire, host, port, ssl=tls, server_hostname=name)
        return wire

    async def _through_proxy(self) -> Wire:
        assert self._proxy is not None
        proxy = self._proxy
        scheme = proxy.scheme or "http"
        first = await self._direct(
            proxy.hostname or "",
            proxy.port or _PORTS.get(scheme, 80),
            ssl.create_default_context() if scheme == "https" else None,
        )
        if self._tls is None:
            return first
        try:
            return await self._tls_within(first)
        except BaseException:
            first.abort()
            raise

    async def _tls_within(self, first: Wire) -> Wire:
        """Open a tunnel through the host's own proxy, and speak TLS with the API in it."""
        there = f"{self._host}:{self._port}"
        headers = [("Host", there), *self._proxy_authorization()]
        first.write(http1.encode_head(f"CONNECT {there} HTTP/1.1", headers))
        answer = await first.head()
        if answer is None or http1.parse_response(answer, method="HEAD")[0].status != 200:
            raise ConnectionError("the proxy of this host refuses the way to the API")
        loop, wire = asyncio.get_running_loop(), Wire()
        assert self._tls is not None
        transport = await loop.start_tls(
            first.transport, wire, self._tls, server_hostname=self._host
        )
        if transport is None:
            raise ConnectionError("the connection ended")
        wire.connection_made(transport)
        return wire

    def _proxy_authorization(self) -> list[tuple[str, str]]:
        if self._proxy is None or self._proxy.username is None:
            return []
        pair = f"{unquote(self._proxy.username)}:{unquote(self._proxy.password or '')}"
        word = base64.b64encode(pair.encode()).decode("ascii")
        return [("Proxy-Authorization", f"Basic {word}")]
