"""The edge of the proxy: it listens, keeps the connections, and ends them in good order."""

from __future__ import annotations

import asyncio
import errno
import logging
from types import TracebackType
from typing import Self

from tachikoma.host import tasks
from tachikoma.model.errors import ProxyError, ProxyPortError
from tachikoma.model.names import VmName
from tachikoma.model.vm import Endpoint
from tachikoma.proxy.conversation import Conversation, Limits, Parts
from tachikoma.proxy.route import Deny, Policy, route
from tachikoma.proxy.wire import Wire

_CUT_S = 0.5
_BACKLOG = 1024
_LOOKS_EACH_LIMIT = 4
_MOST_OFTEN_S = 0.05
_LEAST_OFTEN_S = 5.0
_REJUDGED_EACH_S = 1.0

_log = logging.getLogger(__name__)


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
        self._listener: asyncio.Server | None = None
        self._open: dict[Conversation, asyncio.Task[None]] = {}
        self._busy: dict[VmName, int] = {}
        self._stopping = False
        self._timers: list[asyncio.TimerHandle] = []
        self._rejudging: asyncio.Task[None] | None = None
        self._judged_by: Policy | None = None

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
        loop = asyncio.get_running_loop()
        try:
            self._listener = await loop.create_server(
                lambda: Wire(self._met), self._asked.host, self._asked.port, backlog=_BACKLOG
            )
        except OSError as error:
            raise _not_bound(error, self._asked) from error
        self._look(_often(self._parts.limits))
        self._rejudge()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop as the class promises."""
        self.stop_listening()
        self._stopping = True
        for conversation in list(self._open):
            conversation.stopping = True
            if not conversation.serving:
                conversation.cut("the proxy stops")
        await self._ended(self._drain_s)
        if self._open:
            _log.warning("%d requests were broken off", len(self._open))
        for conversation in list(self._open):
            conversation.cut("the proxy stops")
        await self._ended(_CUT_S)
        for timer in self._timers:
            timer.cancel()
        if self._rejudging is not None:
            await tasks.end(self._rejudging)

    def stop_listening(self) -> None:
        """Give the port back at once."""
        assert self._listener is not None
        self._listener.close()

    async def _ended(self, deadline_s: float) -> None:
        if self._open:
            await asyncio.wait(list(self._open.values()), timeout=deadline_s)

    def _met(self, wire: Wire) -> None:
        """Begin to serve a client that has connected."""
        if self._stopping or len(self._open) >= self._parts.limits.connections:
            wire.abort()
            return
        made = Conversation(wire, parts=self._parts, instance=self._instance, busy=self._busy)
        self._open[made] = made.begin(lambda: self._over(made))

    def _over(self, conversation: Conversation) -> None:
        self._open.pop(conversation, None)

    def _look(self, often_s: float) -> None:
        """Cut off who has been waited for too long, now and again."""
        loop = asyncio.get_running_loop()
        for conversation in list(self._open):
            conversation.check(loop.time())
        self._timers[:1] = [loop.call_later(often_s, self._look, often_s)]

    def _rejudge(self) -> None:
        """See to it that what was let out is judged again by the policy of today."""
        if any(each.outward is not None for each in self._open) and (
            self._rejudging is None or self._rejudging.done()
        ):
            self._rejudging = tasks.spawn(self._judge_again(), name="proxy policy")
        loop = asyncio.get_running_loop()
        self._timers[1:] = [loop.call_later(_REJUDGED_EACH_S, self._rejudge)]

    async def _judge_again(self) -> None:
        """Break off what a new policy would not let out: a host denied, a VM destroyed."""
        policy = await self._parts.outward()
        if policy is self._judged_by:
            return
        self._judged_by = policy
        for conversation in list(self._open):
            head = conversation.outward
            if head is not None and isinstance(denied := route(head, policy), Deny):
                conversation.cut(denied.why)


def _often(limits: Limits) -> float:
    """Tell how often to look, so that a limit is overstepped by a part of it at most."""
    shortest = min(
        limits.head_s,
        limits.idle_s,
        limits.slow_s,
        limits.stuck_s,
        limits.silence_s,
        limits.linger_s,
    )
    return min(max(shortest / _LOOKS_EACH_LIMIT, _MOST_OFTEN_S), _LEAST_OFTEN_S)


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
