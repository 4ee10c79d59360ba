"""A request to a host that its VM may reach: a tunnel, or one request in plain HTTP."""

from __future__ import annotations

from tachikoma.proxy import answers, headers
from tachikoma.proxy.answers import Answer
from tachikoma.proxy.exchange import Exchange
from tachikoma.proxy.ledger import Verdict
from tachikoma.proxy.outside import ForbiddenError, Resolve, connect
from tachikoma.proxy.route import Deny, Fetch, Tunnel, unreachable
from tachikoma.proxy.tunnel import Tunnel as Joined
from tachikoma.proxy.wire import Wire


async def tunnel(exchange: Exchange, to: Tunnel, resolve: Resolve) -> Answer | Deny | None:
    """Join the client with the host until both have ended; gives what is to be said instead."""
    host = await _reached(exchange, to.host, to.port, resolve)
    if not isinstance(host, Wire):
        return host
    exchange.other, exchange.last = host, True
    exchange.entry.status = 200
    exchange.client.write(answers.ESTABLISHED)
    try:
        await Joined(exchange.client, host, exchange.entry).run()
    except OSError as error:
        exchange.entry.verdict, exchange.entry.why = Verdict.BROKEN, type(error).__name__
        exchange.client.close()
        return None
    exchange.entry.verdict = Verdict.FORWARDED
    host.close()
    exchange.other = None
    return None


async def fetch(exchange: Exchange, to: Fetch, resolve: Resolve) -> Answer | Deny | None:
    """Send the request to the host and its answer back; gives what is to be said instead.

    Raises:
        Malformed: the client's body is malformed.
    """
    host = await _reached(exchange, to.host, to.port, resolve)
    if not isinstance(host, Wire):
        return host
    exchange.other = host
    name = f"[{to.host}]" if ":" in to.host else to.host
    authority = name if to.port == 80 else f"{name}:{to.port}"
    given = headers.to_host(exchange.head.headers, host=authority)
    try:
        found = await exchange.ask(
            host, f"{exchange.head.method} {to.target} HTTP/1.1", [*given, ("Connection", "close")]
        )
    except OSError as error:
        return _failed(exchange, to.host, error)
    await exchange.hand_down(found)
    return None


async def _reached(
    exchange: Exchange, host: str, port: int, resolve: Resolve
) -> Wire | Answer | Deny:
    exchange.entry.host = f"{host}:{port}"
    try:
        return await connect(host, port, exchange.tenant.egress, resolve)
    except ForbiddenError as error:
        return unreachable(str(error), exchange.tenant)
    except OSError as error:
        return _failed(exchange, host, error)


def _failed(exchange: Exchange, host: str, error: OSError) -> Answer:
    kind = type(error).__name__
    exchange.entry.status, exchange.entry.verdict = 502, Verdict.FAILED
    exchange.entry.why = f"{kind}: {error}"[:200]
    return answers.error(502, "api_error", f"{host} cannot be reached ({kind})", retry=True)
