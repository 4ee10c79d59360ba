"""A request to the API: with the credential of the moment, with a fresh one if that is refused."""

from __future__ import annotations

import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Protocol

from tachikoma.credentials.port import Credential
from tachikoma.host.clock import Clock
from tachikoma.model.errors import CredentialError
from tachikoma.proxy import answers, headers
from tachikoma.proxy.answers import Answer
from tachikoma.proxy.exchange import Exchange, Found, NoAnswerError
from tachikoma.proxy.ledger import Verdict
from tachikoma.proxy.meter import Meter, Tokens
from tachikoma.proxy.route import Forward, Tenant
from tachikoma.proxy.upstream import Upstream

_METERED = "/v1/messages"
_GIVE_UP = ("x-should-retry", "false")

_log = logging.getLogger(__name__)


class Credentials(Protocol):
    """Where the credential comes from; ``Waterfall`` tells what each call promises."""

    async def current(self) -> Credential:
        """Give the credential to use now."""
        ...

    def forget(self, credential: Credential) -> None:
        """Resolve anew at the next call if ``credential`` is still the one in use."""
        ...


Spent = Callable[[Tenant, str, Tokens], None]


class Api:
    """Serves requests to the API. ``spent`` is told what each model call took."""

    def __init__(
        self, *, credentials: Credentials, upstream: Upstream, clock: Clock, spent: Spent
    ) -> None:
        self._credentials = credentials
        self._upstream = upstream
        self._clock = clock
        self._spent = spent

    async def serve(self, exchange: Exchange, to: Forward) -> Answer | None:
        """Pass the request on and its answer back; gives what is to be said instead, if anything.

        A refused credential is looked up anew, once, and the request sent again if the sources
        have another one. What the API says in the end is handed down, with the hint to give up
        where it still refuses us: the client can do nothing about it.

        Raises:
            Malformed: the client's body is malformed.
        """
        try:
            credential = await self._credentials.current()
        except CredentialError as error:
            return _without_credential(exchange, error)
        found = await self._ask(exchange, to, credential)
        if isinstance(found, Answer):
            return found
        if found.head.status == HTTPStatus.UNAUTHORIZED:
            fresh = await self._other_than(credential)
            if fresh is not None:
                exchange.end()
                if not exchange.upload.repeatable:
                    return _to_be_repeated(exchange)
                found = await self._ask(exchange, to, fresh)
                if isinstance(found, Answer):
                    return found
                if found.head.status == HTTPStatus.UNAUTHORIZED:
                    self._credentials.forget(fresh)
        await self._hand_down(exchange, found)
        return None

    async def _other_than(self, refused: Credential) -> Credential | None:
        """Have the sources asked again; gives what they have now unless it is the same."""
        self._credentials.forget(refused)
        try:
            now = await self._credentials.current()
        except CredentialError as error:
            _log.warning("after a refusal: %s: %s", error.message, error.hint)
            return None
        same = (now.kind, now.secret) == (refused.kind, refused.secret)
        return None if same else now

    async def _ask(self, exchange: Exchange, to: Forward, credential: Credential) -> Found | Answer:
        """Ask the API. A kept connection that turns out to be closed is no failure yet."""
        upstream, entry = self._upstream, exchange.entry
        first = f"{exchange.head.method} {upstream.target(to.url)} HTTP/1.1"
        given = headers.to_api(exchange.head.headers, credential, host=upstream.host)
        given += upstream.proxy_headers()
        kept = upstream.kept()
        try:
            if kept is not None:
                try:
                    found = await exchange.ask(kept, first, given)
                except NoAnswerError:
                    exchange.end()
                    if not exchange.upload.repeatable:
                        raise
                    found = await exchange.ask(await upstream.opened(), first, given)
            else:
                found = await exchange.ask(await upstream.opened(), first, given)
        except OSError as error:
            entry.status, entry.verdict = 502, Verdict.FAILED
            entry.why = f"{type(error).__name__}: {error}"
            why = f"the API cannot be reached from the host ({type(error).__name__})"
            return answers.error(502, "api_error", why, retry=True)
        entry.first_byte_s = self._clock.monotonic() - entry.began
        return found

    async def _hand_down(self, exchange: Exchange, found: Found) -> None:
        given = {name.lower(): value for name, value in found.head.headers}
        extra = []
        if found.head.status == HTTPStatus.UNAUTHORIZED and "x-should-retry" not in given:
            extra.append(_GIVE_UP)
        meter = None
        path = exchange.head.target.partition("?")[0]
        if exchange.head.method == "POST" and path == _METERED and found.head.status == 200:
            coding = given.get("content-encoding", "")
            meter = Meter(content_type=given.get("content-type", ""), coding=coding)
        try:
            if await exchange.hand_down(found, meter=meter, extra=extra):
                exchange.other = None
                self._upstream.keep(found.source)
        finally:
            if meter is not None:
                self._note(exchange, meter)

    def _note(self, exchange: Exchange, meter: Meter) -> None:
        """Record what the answer told, even of one that broke off."""
        exchange.entry.model, exchange.entry.tokens = meter.model, meter.tokens
        if meter.tokens is not None:
            self._spent(exchange.tenant, meter.model, meter.tokens)


def _without_credential(exchange: Exchange, error: CredentialError) -> Answer:
    _log.warning("%s: %s", error.message, error.hint)
    exchange.entry.status, exchange.entry.why = 503, error.message
    exchange.entry.verdict = Verdict.FAILED
    why = f"{error.message}; `tachikoma credentials` on the host tells more"
    return answers.error(503, "api_error", why, retry=False)


def _to_be_repeated(exchange: Exchange) -> Answer:
    why = "the credential was renewed while a long request was under way"
    exchange.entry.status, exchange.entry.why = 503, why
    exchange.entry.verdict = Verdict.FAILED
    return answers.error(503, "api_error", f"{why}; send it again", retry=True)
