"""The HTTP side: who calls is found out, what he says is checked, and every answer is JSON."""

from __future__ import annotations

import hmac
import json
import logging
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial

from aiohttp import hdrs, web

from tachikoma.makima.server import bodies, metrics, shapes
from tachikoma.makima.server.branch_desk import BranchDesk
from tachikoma.makima.server.calls import Call, Nobody, Person, Tool, forbidden, not_found
from tachikoma.makima.server.calls import Who as Caller
from tachikoma.makima.server.checking import body_of, id_of, query_of
from tachikoma.makima.server.desk import Desk
from tachikoma.makima.server.endpoints import API, ENDPOINTS, Endpoint, Who
from tachikoma.makima.server.keyring import SESSION_S, OpenSession
from tachikoma.makima.server.openapi import document
from tachikoma.makima.server.shapes import KeyKind, Shape
from tachikoma.makima.server.streams import Streams
from tachikoma.model.errors import TachikomaError
from tachikoma.model.errors_fleet import RequestError

COOKIE = "makima_session"
CSRF_HEADER = "X-CSRF-Token"
LARGEST_BODY = 4 * 1024 * 1024
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
_log = logging.getLogger(__name__)
_Method = Callable[[Call], Awaitable[Shape]]
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Front:
    """The routes of the API. ``secure`` says that browsers come by HTTPS."""

    def __init__(self, desk: Desk, streams: Streams, *, secure: bool) -> None:
        self._desk = desk
        self._branches = BranchDesk(desk)
        self._keyring = desk.store.keyring
        self._streams = streams
        self._secure = secure
        self._requests: Counter[tuple[str, int]] = Counter()
        self._document = json.dumps(document())

    def application(self) -> web.Application:
        """Give an application with all routes."""
        app = web.Application(client_max_size=LARGEST_BODY, middlewares=[self._guard])
        add = app.router.add_route
        for each in ENDPOINTS:
            add(each.method, each.path, partial(self._answer, each), name=each.name)
        add("GET", "/metrics", self._metrics, name="metrics")
        for path in ("/openapi.json", f"{API}/openapi.json"):
            add("GET", path, self._openapi)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """See to it that every answer is ours: errors in one shape, and the headers on all."""
        try:
            response = await handler(request)
        except web.HTTPException as error:
            response = _of_http(error)
        except RequestError as error:
            response = _refused(error)
        except TachikomaError as error:
            _log.error("%s %s: %s", request.method, request.path, error.message)
            response = _refusal(503, "unavailable", "the server has a fault", "its log tells more")
        except Exception:  # noqa: BLE001 - a front door: whoever calls gets an answer
            _log.exception("a fault of tachikoma's in %s %s", request.method, request.path)
            response = _refusal(500, "bug", "this is a fault of tachikoma's", "its log tells more")
        if not response.prepared:
            for name, value in _HEADERS.items():
                response.headers.setdefault(name, value)
        name = request.match_info.route.name or "other"
        self._requests[name, response.status] += 1
        return response

    async def _answer(self, endpoint: Endpoint, request: web.Request) -> web.StreamResponse:
        who = await self._who(request)
        _check_may(endpoint, who)
        call = await _call(endpoint, request, who)
        if endpoint.stream:
            good = partial(self._still_good, request)
            return await self._streams.serve(request, endpoint.name, call, good)
        if endpoint.name in _OF_SESSIONS:
            return await self._of_session(endpoint, call)
        answer = await self._method(endpoint)(call)
        assert isinstance(answer, endpoint.answer)
        return _json(answer, endpoint.status)

    def _method(self, endpoint: Endpoint) -> _Method:
        name = re.sub(r"[A-Z]", lambda each: f"_{each[0].lower()}", endpoint.name)
        found: _Method | None = getattr(self._desk, name, None)
        return found if found is not None else getattr(self._branches, name)

    # Who calls

    async def _who(self, request: web.Request) -> Caller:
        """Find out who calls.

        Raises:
            RequestError: the key is not valid, or not good for this, or a browser was tricked.
        """
        said = request.headers.get(hdrs.AUTHORIZATION)
        if said is not None:
            return await self._bearer(said)
        secret = request.cookies.get(COOKIE)
        session = await self._keyring.session(secret) if secret else None
        if session is None:
            return Nobody()
        token = request.headers.get(CSRF_HEADER, "")
        if request.method not in _SAFE and not hmac.compare_digest(
            token.encode("utf-8", "surrogateescape"), session.csrf.encode()
        ):
            raise RequestError(
                f"the header {CSRF_HEADER} is not that of the session",
                status=403,
                reason="csrf",
                hint=f"GET {API}/session gives it",
            )
        return Person(session.key, session)

    async def _bearer(self, said: str) -> Caller:
        scheme, _, secret = said.partition(" ")
        if scheme.lower() != "bearer" or not secret.strip():
            raise _unauthorized("the header Authorization is not `Bearer KEY`")
        key = await self._keyring.find(secret.strip())
        if key is not None and key.kind is KeyKind.DAEMON:
            raise forbidden(
                "this is the key of a daemon", "`tachikoma makima keys create NAME` makes yours"
            )
        if key is not None:
            return Person(key)
        task = await self._keyring.tool(secret.strip())
        if task is None:
            raise _unauthorized("the key is not one of this server's, or was revoked")
        return Tool(task)

    async def _still_good(self, request: web.Request) -> bool:
        try:
            return not isinstance(await self._who(request), Nobody)
        except RequestError:
            return False

    # Sessions of browsers

    async def _of_session(self, endpoint: Endpoint, call: Call) -> web.Response:
        match endpoint.name:
            case "signIn":
                return await self._sign_in(call.given(bodies.SignIn).key)
            case "getSession":
                return _json(_shown(_session_of(call)), 200)
            case _:
                await self._keyring.close_session(_session_of(call))
                response = _json(shapes.Nothing(), 200)
                response.del_cookie(COOKIE, path="/")
                return response

    async def _sign_in(self, secret: str) -> web.Response:
        who = await self._bearer(f"Bearer {secret.strip()}")
        if not isinstance(who, Person):
            raise forbidden("this is the key of an orchestrator")
        session = await self._keyring.open_session(who.key)
        response = _json(_shown(session), 201)
        response.set_cookie(
            COOKIE,
            session.secret,
            path="/",
            max_age=int(SESSION_S),
            httponly=True,
            samesite="Strict",
            secure=self._secure,
        )
        return response

    # What is no endpoint of the document

    async def _metrics(self, request: web.Request) -> web.Response:
        if not isinstance(await self._who(request), Person):
            raise _unauthorized("this needs a key")
        text = metrics.exposition(
            tasks=await self._desk.store.counts(),
            daemons=len(self._desk.fleet.here),
            streams=self._streams.open,
            turned_away=self._desk.fleet.turned_away_count,
            requests=self._requests,
        )
        return web.Response(body=text.encode(), headers={"Content-Type": metrics.CONTENT_TYPE})

    async def _openapi(self, _: web.Request) -> web.Response:
        return web.Response(text=self._document, content_type="application/json")


_OF_SESSIONS = frozenset({"signIn", "getSession", "signOut"})


def _check_may(endpoint: Endpoint, who: Caller) -> None:
    match endpoint.who, who:
        case (Who.ANYBODY, _) | (_, Person()) | (Who.TOOLS, Tool()):
            return
        case _, Nobody():
            raise _unauthorized("this needs a key")
        case _:
            raise forbidden("the key of an orchestrator is not good for this")


async def _call(endpoint: Endpoint, request: web.Request, who: Caller) -> Call:
    ids = {name: id_of(name, text) for name, text in request.match_info.items()}
    body = query = None
    if endpoint.query is not None:
        query = query_of(endpoint.query, list(request.query.items()))
    elif request.query:
        raise RequestError("there are no parameters here", status=422, reason="invalid")
    if endpoint.body is not None:
        raw = await request.read()
        kind = request.content_type if hdrs.CONTENT_TYPE in request.headers else ""
        body = body_of(endpoint.body, kind, raw, optional=endpoint.body_optional)
    return Call(who, ids.get("task"), ids.get("daemon"), body, query)


def _session_of(call: Call) -> OpenSession:
    if not isinstance(call.who, Person) or call.who.session is None:
        raise not_found("session: this came with a key")
    return call.who.session


def _shown(session: OpenSession) -> shapes.Session:
    return shapes.Session(
        name=session.key.name,
        csrf_token=session.csrf,
        expires_at=shapes.moment(session.expires),
    )


def _unauthorized(message: str) -> RequestError:
    return RequestError(
        message,
        status=401,
        reason="unauthorized",
        hint="send `Authorization: Bearer KEY`; `tachikoma makima keys create NAME` makes one",
    )


def _json(answer: Shape, status: int) -> web.Response:
    return web.Response(
        body=answer.model_dump_json(by_alias=True).encode(),
        status=status,
        content_type="application/json",
    )


def _refused(error: RequestError) -> web.Response:
    return _refusal(error.status, error.reason, error.message, error.hint)


def _refusal(status: int, code: str, message: str, hint: str = "") -> web.Response:
    refusal = shapes.Refusal(code=code, message=message, hint=hint)
    response = _json(shapes.ErrorAnswer(error=refusal), status)
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if status == 503:
        response.headers["Retry-After"] = "5"
    return response


_CODES = {
    404: ("not_found", "there is nothing at this path", "/openapi.json says what there is"),
    405: ("method_not_allowed", "this path does not take that method", ""),
    413: ("too_large", f"the body is larger than {LARGEST_BODY} bytes", ""),
}


def _of_http(error: web.HTTPException) -> web.StreamResponse:
    """Say what aiohttp says in our shape; what is no error stays as it is."""
    if error.status < 400:
        return error
    code, message, hint = _CODES.get(error.status, ("bad_request", error.reason, ""))
    response = _refusal(error.status, code, message, hint)
    if hdrs.ALLOW in error.headers:
        response.headers[hdrs.ALLOW] = error.headers[hdrs.ALLOW]
    return response
