"""One client's connection: its requests one after the other, each decided, served and recorded."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import assert_never

from tachikoma.host import tasks
from tachikoma.host.clock import Clock
from tachikoma.model.names import VmName
from tachikoma.proxy import answers, http1, outlets
from tachikoma.proxy.answers import Answer
from tachikoma.proxy.api import Api
from tachikoma.proxy.exchange import Exchange
from tachikoma.proxy.http1 import Body, Malformed, connection_options
from tachikoma.proxy.ledger import Entry, RequestLedger, Verdict
from tachikoma.proxy.outside import Resolve
from tachikoma.proxy.route import (
    Deny,
    Fetch,
    Forward,
    Health,
    Hello,
    Policy,
    RequestHead,
    Tunnel,
    route,
)
from tachikoma.proxy.upload import Upload
from tachikoma.proxy.wire import GoneError, Wire

_PASSED_OVER = 64 << 10
"""A refused request's body up to this size is thrown away, and the connection goes on."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one VM, one connection and one request may take.

    ``requests`` at a time for each VM. A head must be complete ``head_s`` after its first byte; a
    connection without a request is kept for ``idle_s``; a client that sends nothing of its body
    for ``slow_s``, or takes nothing of an answer for ``stuck_s``, is cut off. The other side may
    be silent for ``silence_s``: Claude Code gives up after 300 s and must be the first to do so. A
    tunnel of which one side has ended is kept for ``slow_s`` of silence.
    """

    requests: int = 128
    connections: int = 4096
    head_s: float = 30.0
    idle_s: float = 900.0
    slow_s: float = 60.0
    stuck_s: float = 300.0
    silence_s: float = 900.0
    linger_s: float = 2.0


@dataclass(frozen=True, slots=True)
class Parts:
    """What a proxy is made of.

    ``policy`` gives what holds at the moment, ``outward`` the same for what goes to other hosts
    than the API; ``on_health`` is called for every probe, and ``resolve`` looks up the names of
    hosts.
    """

    policy: Callable[[], Awaitable[Policy]]
    outward: Callable[[], Awaitable[Policy]]
    api: Api
    resolve: Resolve
    ledger: RequestLedger
    clock: Clock
    on_health: Callable[[], Awaitable[None]]
    limits: Limits = field(default_factory=Limits)


class Phase(Enum):
    """What a connection is at."""

    WAITING = auto()
    SERVING = auto()
    CLOSING = auto()


class Conversation:
    """One connection of a client. ``busy`` counts what each VM has going on, over all of them.

    ``stopping`` makes the request at hand the last one.
    """

    def __init__(self, wire: Wire, *, parts: Parts, instance: str, busy: dict[VmName, int]) -> None:
        self._wire = wire
        self._parts = parts
        self._instance = instance
        self._busy = busy
        self._loop = asyncio.get_running_loop()
        self._since = self._loop.time()
        self._phase = Phase.WAITING
        self._exchange: Exchange | None = None
        self._outward: RequestHead | None = None
        self._cut = ""
        self._task: asyncio.Task[None] | None = None
        self.stopping = False

    @property
    def serving(self) -> bool:
        """Whether a request is being served."""
        return self._phase is Phase.SERVING

    @property
    def outward(self) -> RequestHead | None:
        """The request at hand, if it was let out to a host other than the API."""
        return self._outward

    def begin(self, done: Callable[[], None]) -> asyncio.Task[None]:
        """Serve the connection in the background; ``done`` is called at its end."""
        self._task = tasks.spawn(self._run(), name="proxy connection")
        self._task.add_done_callback(lambda _task: done())
        self._wire.on_lost = lambda _error: self._cancel()
        return self._task

    def cut(self, why: str) -> None:
        """Break off whatever is going on."""
        self._cut = why
        self._cancel()

    def check(self, now: float) -> None:
        """Break off if whoever we wait for has taken too long."""
        if why := self._overdue(now):
            self.cut(why)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _overdue(self, now: float) -> str:
        limits, wire = self._parts.limits, self._wire
        if wire.stuck is not None:
            return "the client takes nothing" if now - wire.stuck > limits.stuck_s else ""
        match self._phase:
            case Phase.WAITING if wire.waiting:
                return "the head takes too long" if now - self._since > limits.head_s else ""
            case Phase.WAITING:
                self._since = now
                return "idle" if now - wire.active > limits.idle_s else ""
            case Phase.SERVING:
                return self._too_quiet(now)
            case Phase.CLOSING:
                return "closed" if now - self._since > limits.linger_s else ""
            case _:
                assert_never(self._phase)

    def _too_quiet(self, now: float) -> str:
        """Say who of the two sides has been silent for too long."""
        exchange, limits = self._exchange, self._parts.limits
        if exchange is None or exchange.other is None:
            return ""  # looking up and connecting have deadlines of their own
        other = exchange.other
        ours = max(self._since, self._wire.active)
        if not exchange.upload.complete and other.stuck is None and now - ours > limits.slow_s:
            return "the client sends nothing of its body"
        latest = max(ours, other.active)
        half_gone = self._wire.eof or other.eof
        most_s = limits.slow_s if half_gone else limits.silence_s
        return "silence" if now - latest > most_s else ""

    def _enter(self, phase: Phase) -> None:
        self._phase, self._since = phase, self._loop.time()

    async def _run(self) -> None:
        try:
            while await self._request() and not self.stopping:
                self._enter(Phase.WAITING)
            self._enter(Phase.CLOSING)
            self._wire.end_writing()
            while True:  # so that the client sees our last answer, not a reset
                await self._wire.some()
                self._wire.taken()
        except GoneError:
            self._wire.close()
        except asyncio.CancelledError:
            self._wire.abort()
            if not (self._cut or self._wire.lost):
                raise
        finally:
            self._phase = Phase.CLOSING

    async def _request(self) -> bool:
        """Serve one request; tell whether another may follow."""
        clock = self._parts.clock
        try:
            raw = await self._wire.head()
            if raw is None:
                raise GoneError("the client has no more to ask")
            entry = Entry(clock.now(), clock.monotonic())
            head, body = http1.parse_request(raw)
        except Malformed as error:
            entry = Entry(clock.now(), clock.monotonic())
            self._refuse(error, entry)
            self._record(entry)
            return False
        entry.method, entry.path = head.method, head.target
        self._enter(Phase.SERVING)
        try:
            return await self._answer(head, body, entry)
        except Malformed as error:
            self._refuse(error, entry)
            return False
        except asyncio.CancelledError:
            entry.why = entry.why or self._cut
            raise
        except Exception:  # noqa: BLE001 - a front door: the fault is logged, the others live on
            _log.exception("a request failed inside the proxy")
            if entry.status is None:
                self._say(answers.error(500, "api_error", "internal error", retry=False), last=True)
            entry.verdict, entry.why, entry.status = Verdict.FAILED, "internal error", 500
            return False
        finally:
            self._outward = None
            self._record(entry)

    def _record(self, entry: Entry) -> None:
        entry.duration_s = self._parts.clock.monotonic() - entry.began
        if entry.verdict is not Verdict.PROBED:
            self._parts.ledger.add(entry)

    def _refuse(self, error: Malformed, entry: Entry) -> None:
        """Say that the client's head or body is malformed, unless an answer has begun already."""
        entry.verdict, entry.why = Verdict.DENIED, error.why
        if entry.status is None:
            entry.status = error.status
            kind = "invalid_request_error"
            self._say(answers.error(error.status, kind, error.why, retry=False), last=True)

    def _say(self, answer: Answer, *, last: bool, method: str = "") -> None:
        self._wire.write(answer.encode(last=last, with_body=method != "HEAD"))

    async def _answer(self, head: RequestHead, body: Body, entry: Entry) -> bool:
        outward = head.method == "CONNECT" or not head.target.startswith("/")
        policy = await (self._parts.outward if outward else self._parts.policy)()
        decision = route(head, policy)
        match decision:
            case Health():
                await self._parts.on_health()
                entry.verdict = Verdict.PROBED
                answer: Answer | None = answers.health(self._instance)
            case Hello():
                entry.status, entry.verdict = 200, Verdict.ANSWERED
                answer = answers.hello()
            case Deny():
                answer = _denied(decision, entry)
            case Forward() | Tunnel() | Fetch():
                answer = await self._let_pass(decision, head, body, entry)
            case _:
                assert_never(decision)
        exchange, self._exchange = self._exchange, None
        last = self.stopping or "close" in connection_options(head.headers)
        if answer is None:
            assert exchange is not None
            return not (last or exchange.last)
        last = last or not self._passed_over(body)
        self._say(answer, last=last, method=head.method)
        return not last

    def _passed_over(self, body: Body) -> bool:
        """Tell whether all of a body that nobody wants is there, and throw it away."""
        if not body.done and body.length is not None and body.length <= _PASSED_OVER:
            _, rest = body.take(self._wire.taken())
            self._wire.put_back(rest)
        return body.done

    async def _let_pass(
        self, to: Forward | Tunnel | Fetch, head: RequestHead, body: Body, entry: Entry
    ) -> Answer | None:
        """Serve what may pass; gives what is to be said instead, if anything."""
        tenant, most = to.tenant, self._parts.limits.requests
        entry.vm, entry.branch = tenant.vm, tenant.branch
        if self._busy.get(tenant.vm, 0) >= most:
            why = f"this VM has {most} requests going on already"
            return _denied(Deny(429, "rate_limit_error", why, retry=True, tenant=tenant), entry)
        upload = Upload(self._wire, body, entry)
        last = self.stopping or "close" in connection_options(head.headers)
        exchange = self._exchange = Exchange(self._wire, head, upload, entry, tenant, last)
        if not body.done and not self._wire.waiting and _expects(head):
            self._wire.write(answers.CONTINUE)
        self._busy[tenant.vm] = self._busy.get(tenant.vm, 0) + 1
        try:
            said = await self._serve(exchange, to)
        finally:
            exchange.end()
            self._busy[tenant.vm] -= 1
        return _denied(said, entry) if isinstance(said, Deny) else said

    async def _serve(
        self, exchange: Exchange, to: Forward | Tunnel | Fetch
    ) -> Answer | Deny | None:
        match to:
            case Forward():
                return await self._parts.api.serve(exchange, to)
            case Tunnel():
                self._outward = exchange.head
                return await outlets.tunnel(exchange, to, self._parts.resolve)
            case Fetch():
                self._outward = exchange.head
                return await outlets.fetch(exchange, to, self._parts.resolve)
            case _:
                assert_never(to)


def _denied(deny: Deny, entry: Entry) -> Answer:
    if deny.tenant is not None:
        entry.vm, entry.branch = deny.tenant.vm, deny.tenant.branch
    entry.status, entry.verdict = deny.status, Verdict.DENIED
    entry.why = deny.why.partition(";")[0]  # what follows is advice for people
    after_s = 1 if deny.status == 429 else None
    return answers.error(deny.status, deny.kind, deny.why, retry=deny.retry, after_s=after_s)


def _expects(head: RequestHead) -> bool:
    return any(value.lower() == "100-continue" for value in head.all("expect"))
