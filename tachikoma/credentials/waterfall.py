"""The waterfall: the first source that has a credential wins, and is not asked again at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from tachikoma.credentials.port import Credential, Finding, Source
from tachikoma.host.clock import Clock
from tachikoma.model.errors import NoCredentialError

_FAILURE_KEPT_S = 2.0
"""Long enough that a burst of requests runs each command once, short enough to be unseen."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a resolution came to, and until when it stands."""

    findings: tuple[Finding, ...]
    credential: Credential | None
    stamps: tuple[object, ...]
    until: float


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

    A credential is kept for ``ttl_s``, never beyond its expiry, and is resolved anew as soon
    as a source says that it has changed. Callers that come while the sources are being asked
    share that one answer.
    """

    def __init__(self, *, sources: Sequence[Source], ttl_s: float, clock: Clock) -> None:
        self._sources = tuple(sources)
        self._ttl_s = ttl_s
        self._clock = clock
        self._answer: _Answer | None = None
        self._asking = asyncio.Lock()

    async def current(self) -> Credential:
        """Give the credential to use now.

        Raises:
            NoCredentialError: no source has one; the hint says what each of them said.
        """
        answer = self._fresh()
        if answer is None:
            async with self._asking:
                answer = self._fresh() or await self._resolve()
        if answer.credential is None:
            raise NoCredentialError(
                "no credential for the Anthropic API was found",
                hint="set ANTHROPIC_API_KEY, or `credential_command` in the configuration, or "
                "sign in with `claude` on this host. "
                + "; ".join(f"{found.source}: {found.why}" for found in answer.findings),
            )
        return answer.credential

    def forget(self, credential: Credential) -> None:
        """Resolve anew at the next call if ``credential`` is still the one in use.

        For a credential that the API refused. Many requests that were refused with the same
        one cause a single resolution.
        """
        if self._answer is not None and self._answer.credential == credential:
            self._answer = None

    def _fresh(self) -> _Answer | None:
        """Give the last answer while it stands."""
        answer = self._answer
        if answer is None or self._clock.monotonic() >= answer.until:
            return None
        found = answer.credential
        if found is not None and found.expires is not None and found.expires <= self._clock.now():
            return None
        return answer if answer.stamps == self._stamps() else None

    async def _resolve(self) -> _Answer:
        stamps = self._stamps()  # before looking: a change in between is seen next time
        findings = await ask(self._sources)
        credential = findings[-1].credential if findings else None
        kept_s = self._ttl_s if credential is not None else min(self._ttl_s, _FAILURE_KEPT_S)
        until = self._clock.monotonic() + kept_s
        self._answer = _Answer(findings, credential, stamps, until)
        return self._answer

    def _stamps(self) -> tuple[object, ...]:
        return tuple(source.stamp() for source in self._sources)
