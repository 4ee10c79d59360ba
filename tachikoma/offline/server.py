"""The stand-in as an HTTP service on the loopback address."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from aiohttp import web

from tachikoma.model.errors import HostError
from tachikoma.model.vm import Endpoint
from tachikoma.offline.conversation import Conversation, decode_conversation
from tachikoma.offline.script import Script, decide
from tachikoma.offline.wire import encode_error, encode_events, encode_message, tokens_in

LOOPBACK = "127.0.0.1"
_MESSAGES = "/v1/messages"
_COUNT_TOKENS = "/v1/messages/count_tokens"
_LARGEST_BODY = 32 << 20
_STOP_GRACE_S = 1.0
_OAUTH_BETA = "oauth-2025-04-20"
_CREDENTIAL_HEADERS = ("x-api-key", "authorization")


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it arrived: a proof that holds no secret.

    ``credential`` is the header that carried one (``x-api-key``, ``authorization`` or ""), and
    ``credential_sha256`` the hash of its value without the word ``Bearer``;
    ``credential_headers`` are all that carried one. ``betas`` are those of anthropic-beta.
    """

    method: str
    path: str
    status: int
    credential: str
    credential_sha256: str
    model: str = ""
    messages: int = 0
    tools: tuple[str, ...] = ()
    streamed: bool = False
    credential_headers: tuple[str, ...] = ()
    betas: tuple[str, ...] = ()


class _Refused(Exception):
    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status
        self.why = why


class OfflineApi:
    """A scripted Anthropic messages API: ``async with OfflineApi(...) as api``.

    It demands what the real one demands (a credential, a version header, the OAuth beta for an
    OAuth token) and answers by its scripts. With ``secret_sha256`` only the secret of that hash
    is accepted. ``requests`` tells what came, in the order of arrival; ``on_request`` is called
    with each.

    If starting fails, nothing listens and nothing is left to clean up. On stop, no new request
    is taken, running answers get a second to end, and the port is free afterwards.
    """

    def __init__(
        self,
        *,
        scripts: Sequence[Script],
        port: int = 0,
        secret_sha256: str | None = None,
        on_request: Callable[[Seen], None] | None = None,
    ) -> None:
        self._scripts = tuple(scripts)
        self._port = port
        self._secret_sha256 = secret_sha256
        self._on_request = on_request
        self._seen: list[Seen] = []
        self._arrived = 0
        self._runner: web.AppRunner | None = None

    @property
    def endpoint(self) -> Endpoint:
        """Where it listens; only while it runs."""
        assert self._runner is not None, "the stand-in does not run"
        host, port = self._runner.addresses[0][:2]
        return Endpoint(str(host), int(port))

    @property
    def url(self) -> str:
        """The base URL for ``ANTHROPIC_BASE_URL``."""
        return f"http://{self.endpoint}"

    @property
    def requests(self) -> tuple[Seen, ...]:
        """Every request so far."""
        return tuple(self._seen)

    async def __aenter__(self) -> OfflineApi:
        """Start to listen.

        Raises:
            HostError: the port is taken or not allowed.
        """
        app = web.Application(client_max_size=_LARGEST_BODY)
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=_STOP_GRACE_S)
        await runner.setup()
        try:
            await web.SockSite(runner, _bound(self._port)).start()
        except BaseException:
            await runner.cleanup()
            raise
        self._runner = runner
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop to listen."""
        assert self._runner is not None
        runner, self._runner = self._runner, None
        await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self._arrived += 1
        headers = {"request-id": f"req_offline_{self._arrived:06d}"}
        try:
            conversation = await self._accepted(request)
        except _Refused as refusal:
            self._record(request, refusal.status, None)
            body = encode_error(refusal.status, refusal.why, headers["request-id"])
            return web.json_response(body, status=refusal.status, headers=headers)
        self._record(request, 200, conversation)
        if conversation is None:
            return web.json_response({"service": "tachikoma offline"}, headers=headers)
        tokens = tokens_in(await request.read())
        if request.path == _COUNT_TOKENS:
            return web.json_response({"input_tokens": tokens}, headers=headers)
        answer = decide(self._scripts, conversation)
        if not conversation.streamed:
            return web.json_response(encode_message(conversation, answer, tokens), headers=headers)
        return await _send(request, encode_events(conversation, answer, tokens), headers)

    async def _accepted(self, request: web.Request) -> Conversation | None:
        """Give what the request says; None for one that only looks whether somebody is there.

        Raises:
            _Refused: the real API would not serve it either.
        """
        if request.path == "/" and request.method in ("GET", "HEAD"):
            return None
        if request.path not in (_MESSAGES, _COUNT_TOKENS):
            raise _Refused(404, f"no such endpoint: {request.path}")
        if request.method != "POST":
            raise _Refused(405, "Method Not Allowed")
        self._check_credential(request)
        if "anthropic-version" not in request.headers:
            raise _Refused(400, "anthropic-version: header is required")
        try:
            return decode_conversation(json.loads(await request.read()))
        except web.HTTPRequestEntityTooLarge as error:
            raise _Refused(413, "Request exceeds the maximum size") from error
        except ValueError as error:
            raise _Refused(400, str(error)) from error

    def _check_credential(self, request: web.Request) -> None:
        header, digest = _credential(request)
        if not header:
            raise _Refused(401, "x-api-key header is required")
        wanted = self._secret_sha256
        if wanted is not None and not hmac.compare_digest(digest, wanted):
            raise _Refused(
                401, "invalid x-api-key" if header == "x-api-key" else "Invalid bearer token"
            )
        if _is_oauth(request) and _OAUTH_BETA not in request.headers.get("anthropic-beta", ""):
            raise _Refused(401, "OAuth authentication is currently not supported.")

    def _record(self, request: web.Request, status: int, found: Conversation | None) -> None:
        header, digest = _credential(request)
        seen = Seen(request.method, request.path, status, header, digest)
        if found is not None:
            seen = replace(
                seen,
                model=found.model,
                messages=found.messages,
                tools=found.tools,
                streamed=found.streamed,
                credential_headers=_credential_headers(request),
                betas=_betas(request),
            )
        self._seen.append(seen)
        if self._on_request is not None:
            self._on_request(seen)


async def _send(
    request: web.Request, events: Iterable[bytes], headers: Mapping[str, str]
) -> web.StreamResponse:
    response = web.StreamResponse(
        headers={
            **headers,
            "content-type": "text/event-stream; charset=utf-8",
            "cache-control": "no-cache",
        }
    )
    with contextlib.suppress(ConnectionError):  # the client may leave at any time
        await response.prepare(request)
        for event in events:
            await response.write(event)
        await response.write_eof()
    return response


def _credential(request: web.Request) -> tuple[str, str]:
    """Give the header that holds the credential, and the hash of the credential."""
    for header in _CREDENTIAL_HEADERS:
        if secret := _bare(request.headers.get(header, "")):
            return header, hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
    return "", ""


def _credential_headers(request: web.Request) -> tuple[str, ...]:
    return tuple(
        header for header in _CREDENTIAL_HEADERS for _ in request.headers.getall(header, [])
    )


def _betas(request: web.Request) -> tuple[str, ...]:
    lines = request.headers.getall("anthropic-beta", [])
    return tuple(beta.strip() for line in lines for beta in line.split(",") if beta.strip())


def _is_oauth(request: web.Request) -> bool:
    return _bare(request.headers.get("authorization", "")).startswith("sk-ant-oat")


def _bare(value: str) -> str:
    word, _, rest = value.strip().partition(" ")
    return rest.strip() if word.lower() == "bearer" else value.strip()


def _bound(port: int) -> socket.socket:
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOOPBACK, port))
    except (OSError, OverflowError) as error:  # the latter for a port beyond 65535
        listener.close()
        raise HostError(
            f"the offline API cannot listen on {LOOPBACK}:{port}: {error}",
            hint="choose another port; 0 takes any free one",
        ) from error
    return listener
