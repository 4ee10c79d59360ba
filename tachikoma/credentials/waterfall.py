"""The waterfall: the first source that has a credential wins, and is not asked again at once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from tachikoma.credentials.port import Credential, Finding, Source
from tachikoma.host import tasks
from tachikoma.host.clock import Clock
from tachikoma.model.errors import NoCredentialError

_FAILURE_KEPT_S = 2.0
"""Long enough that a burst of requests runs each command once, short enough to be unseen."""
_MARGIN_S = 300.0
"""Claude Code renews its token some minutes before the end: from then on a new one may be there."""
_LOOK_AGAIN_S = 15.0
"""How often it is looked for within that margin."""
_REFUSED_KEPT_S = 5.0
"""How long what was looked up anew after a refusal stands if it is the same again."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a resolution came to, and until when it stands.

    ``suspect`` marks a credential that had just been refused and was found again all the same.
    """

    findings: tuple[Finding, ...]
    credential: Credential | None
    stamps: tuple[object, ...]
    until: float
    suspect: bool


async def ask(sources: Sequence[Source]) -> tuple[Finding, ...]:
    """Ask ``sources`` in their order until one has a credential: then the last finding holds it."""
    findings: list[Finding] = []
    for source in sources:
        findings.append(await source.look())
        if findings[-1].credential is not None:
            break
    return tuple(findings)


class Waterfall:
    """Gives the credential of the moment out of ``sources``, asked in their order.

    A credential is kept for ``ttl_s``, is looked up again from some minutes before its expiry
    on, never given beyond it, and is resolved anew as soon as a source says that it has changed.
    One resolution is under way at a time: callers that come meanwhile share its answer, and it
    goes on for the others when one of them leaves. ``aclose`` ends it.
    """

    def __init__(self, *, sources: Sequence[Source], ttl_s: float, clock: Clock) -> None:
        self._sources = tuple(sources)
        self._ttl_s = ttl_s
        self._clock = clock
        self._answer: _Answer | None = None
        self._asking: asyncio.Task[_Answer] | None = None
        self._asking_since = 0
        self._forgotten = 0
        self._refused: Credential | None = None
        self._told: tuple[tuple[str, str], ...] = ()

    async def current(self) -> Credential:
        """Give the credential to use now.

        Raises:
            NoCredentialError: no source has one; the hint says what each of them said.
        """
        answer = self._fresh() or await self._resolved()
        if answer.credential is None:
            raise _none_found(answer.findings)
        return answer.credential

    def forget(self, credential: Credential) -> None:
        """Resolve anew at the next call if ``credential`` is still the one in use.

        For a credential that the API refused. Many requests that were refused with the same
        one cause a single resolution; and if that gives the same one again, another is worth
        its cost only after a while.
        """
        answer = self._answer
        if answer is None or not _same(answer.credential, credential):
            return
        if answer.suspect and self._clock.monotonic() < answer.until:
            return
        self._refused = credential
        self._forgotten += 1
        self._answer = None

    async def aclose(self) -> None:
        """End a resolution that is under way, with the commands that it runs."""
        if self._asking is not None:
            await tasks.end(self._asking)

    def _fresh(self) -> _Answer | None:
        """Give the last answer while it stands."""
        answer = self._answer
        if answer is None or self._clock.monotonic() >= answer.until:
            return None
        found = answer.credential
        if found is not None and found.expires is not None and found.expires <= self._clock.now():
            return None
        return answer if answer.stamps == self._stamps(len(answer.findings)) else None

    async def _resolved(self) -> _Answer:
        """Give the answer of a resolution that began after the last refusal was reported."""
        refusals = self._forgotten
        while True:
            if self._asking is None or self._asking.done():
                self._asking = tasks.spawn(self._resolve(), name="finding the credential")
                self._asking_since = self._forgotten
            since = self._asking_since
            answer = await asyncio.shield(self._asking)
            if since >= refusals:
                return answer

    async def _resolve(self) -> _Answer:
        stamps = self._stamps(len(self._sources))  # before looking: a change meanwhile is seen
        began = self._clock.monotonic()
        findings = await ask(self._sources)
        took_s = self._clock.monotonic() - began
        credential = findings[-1].credential if findings else None
        suspect, self._refused = _same(self._refused, credential), None
        kept_s = self._kept_s(credential, took_s)
        if suspect:
            kept_s = min(kept_s, max(_REFUSED_KEPT_S, took_s))
        until = self._clock.monotonic() + kept_s
        self._answer = _Answer(findings, credential, stamps[: len(findings)], until, suspect)
        self._tell(findings)
        return self._answer

    def _kept_s(self, credential: Credential | None, took_s: float) -> float:
        """Say for how long an answer stands that took ``took_s`` to find."""
        if credential is None:
            return max(min(self._ttl_s, _FAILURE_KEPT_S), took_s)
        kept_s = self._ttl_s
        if credential.expires is not None:
            left_s = credential.expires - self._clock.now()
            kept_s = min(kept_s, max(left_s - _MARGIN_S, _LOOK_AGAIN_S))
        return kept_s

    def _stamps(self, count: int) -> tuple[object, ...]:
        """Give the stamps of the first ``count`` sources; a later one could change nothing."""
        return tuple(source.stamp() for source in self._sources[:count])

    def _tell(self, findings: tuple[Finding, ...]) -> None:
        """Log which source is in use and which do not work, whenever that has changed."""
        faults = [(found.source, found.why) for found in findings if found.warning]
        winner = findings[-1].credential if findings else None
        told = (*faults, ("", f"{winner.kind} of {winner.source}" if winner else "nobody"))
        if told == self._told:
            return
        self._told = told
        for source, why in faults:
            _log.warning("credentials: %s is passed over: %s", source, why)
        if winner is not None:
            _log.info("credentials: %s (%s) is in use", winner.source, winner.kind)


def _same(one: Credential | None, other: Credential | None) -> bool:
    """Tell whether both would be sent the same way."""
    if one is None or other is None:
        return False
    return (one.kind, one.secret) == (other.kind, other.secret)


def _none_found(findings: tuple[Finding, ...]) -> NoCredentialError:
    provider = next((found.provider for found in findings if found.provider), "")
    told = "; ".join(f"{found.source}: {found.why}" for found in findings)
    if provider:
        return NoCredentialError(
            f"this host is set up for {provider}, which the credential proxy does not speak",
            hint=f"set ANTHROPIC_BASE_URL to a gateway before it, or ANTHROPIC_API_KEY. {told}",
        )
    return NoCredentialError(
        "no credential for the Anthropic API was found",
        hint="set ANTHROPIC_API_KEY, or `credential_command` in the configuration, or "
        f"sign in with `claude` on this host. {told}",
    )
