"""The way to the API and back: a request's body up, the answer down, both as they come.

Nothing is held back, nothing is decoded, and no size is too large. What the client sent as its
credential goes no further than here.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Self, assert_never
from urllib.parse import urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # not in typeshed

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from tachikoma.credentials.port import Credential, Kind
from tachikoma.host.clock import Clock
from tachikoma.model.errors import ProxyError
from tachikoma.proxy import answers
from tachikoma.proxy.ledger import Entry, Verdict
from tachikoma.proxy.route import Forward

OAUTH_BETA = "oauth-2025-04-20"
"""Without it in anthropic-beta the API refuses an OAuth token."""
_CONNECT_S = 30.0
_SILENCE_S = 900.0
"""Claude Code gives up a silent answer after 300 s; it must be the first to do so."""
_LARGEST_HEADER = 64 << 10
_CHUNK = 256 << 10

_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_OURS_TO_SAY = frozenset({"host", "authorization", "x-api-key", "expect"})
_NOT_ADDED = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
_EXTRA_CA = ("SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS")

Headers = Iterable[tuple[str, str]]


def request_headers(given: Headers, credential: Credential) -> CIMultiDict[str]:
    """Give what goes to the API: the client's headers with the real credential in place."""
    kept = CIMultiDict(_end_to_end(given, _OURS_TO_SAY))
    match credential.kind:
        case Kind.API_KEY:
            kept["x-api-key"] = credential.secret
        case Kind.OAUTH:
            kept["Authorization"] = f"Bearer {credential.secret}"
            betas = [
                b.strip() for each in kept.getall("anthropic-beta", []) for b in each.split(",")
            ]
            betas = [beta for beta in betas if beta and beta != OAUTH_BETA]
            kept["anthropic-beta"] = ",".join([*betas, OAUTH_BETA])
        case Kind.BEARER:
            kept["Authorization"] = f"Bearer {credential.secret}"
        case Kind.NONE:
            pass
        case _:
            assert_never(credential.kind)
    return kept


def response_headers(given: Headers) -> CIMultiDict[str]:
    """Give what goes back to the client: all but what belongs to one connection."""
    kept = CIMultiDict(_end_to_end(given, frozenset()))
    kept.setdefault("Server", answers.SERVER)
    return kept


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
    """Streams requests to the API and its answers back.

    Connections are kept open between requests; redirects are handed to the client; cookies are
    not kept. If starting fails, nothing is open. On stop every connection is closed.
    """

    def __init__(self, *, base: str, environment: Mapping[str, str], clock: Clock) -> None:
        self.base = base
        self._clock = clock
        self._proxy = egress_proxy(environment, base)
        self._tls = tls_context(environment)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Get ready."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=self._tls),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=_CONNECT_S, sock_read=_SILENCE_S
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=_NOT_ADDED,
            read_bufsize=_CHUNK,
            max_line_size=_LARGEST_HEADER,
            max_field_size=_LARGEST_HEADER,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close every connection."""
        assert self._session is not None
        await self._session.close()

    async def relay(
        self, request: web.BaseRequest, forward: Forward, credential: Credential, entry: Entry
    ) -> web.StreamResponse:
        """Send ``request`` on and stream the answer to its client; tell ``entry`` what came.

        Cancelled when the client goes away, which ends the request to the API too. An answer
        that breaks off midway closes the client's connection before its end, so that the
        client can tell.
        """
        assert self._session is not None
        sending = self._session.request(
            request.method,
            URL(forward.url, encoded=True),
            headers=request_headers(request.headers.items(), credential),
            data=request.content if request.body_exists else None,
            allow_redirects=False,
            proxy=self._proxy,
        )
        try:
            answer = await sending
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            entry.status, entry.verdict = 502, Verdict.FAILED
            entry.why = type(error).__name__
            why = f"the API cannot be reached from the host ({type(error).__name__})"
            return answers.error(502, "api_error", why, retry=True)
        entry.first_byte_s = self._clock.monotonic() - entry.began
        async with answer:
            return await _hand_on(request, answer, entry)


async def _hand_on(
    request: web.BaseRequest, answer: aiohttp.ClientResponse, entry: Entry
) -> web.StreamResponse:
    entry.status = answer.status
    response = web.StreamResponse(
        status=answer.status,
        reason=answer.reason,
        headers=response_headers(answer.headers.items()),
    )
    await response.prepare(request)
    while True:
        try:
            chunk = await answer.content.readany()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            entry.verdict, entry.why = Verdict.BROKEN, type(error).__name__
            if request.transport is not None:
                request.transport.close()
            return response
        if not chunk:
            entry.verdict = Verdict.FORWARDED
            return response
        await response.write(chunk)
        entry.sent += len(chunk)


def _end_to_end(given: Headers, dropped: frozenset[str]) -> list[tuple[str, str]]:
    """Give the headers that are meant for the other end, without those in ``dropped``."""
    pairs = list(given)
    named = {
        each.strip().lower()
        for name, value in pairs
        if name.lower() == "connection"
        for each in value.split(",")
    }
    return [
        (name, value.encode("utf-8", "replace").decode())
        for name, value in pairs
        if name.lower() not in _HOP_BY_HOP | dropped | named
    ]
