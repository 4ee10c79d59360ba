"""The two items that Claude Code keeps in the operating system's keychain.

One is the JSON document with OAuth tokens of a Claude account, the other the plain API key of a
Console account.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tachikoma.credentials.port import Credential, Finding, Keychain, Kind
from tachikoma.credentials.sign_in import EXPIRED, NobodySignedIn, decode, one_word
from tachikoma.host.clock import Clock
from tachikoma.model.errors import KeychainError

_PAUSE_S = 30.0
"""How long a keychain that refused is left alone: each try may put a question on the screen, and
what a VM asks of the proxy must not be able to fill the screen with questions."""


@dataclass(frozen=True, slots=True)
class Services:
    """The names under which Claude Code keeps its two items."""

    sign_in: str
    api_key: str

    def both(self) -> Sequence[str]:
        """Give them in the order in which they count."""
        return (self.sign_in, self.api_key)


def services(environment: Mapping[str, str]) -> Services:
    """Give the names, which tell configuration directories other than the usual one apart."""
    directory = unicodedata.normalize("NFC", environment.get("CLAUDE_CONFIG_DIR", ""))
    told = directory.encode("utf-8", "surrogateescape")
    suffix = f"-{hashlib.sha256(told).hexdigest()[:8]}" if directory else ""
    return Services(f"Claude Code-credentials{suffix}", f"Claude Code{suffix}")


class KeychainSource:
    """Claude Code's items of ``account`` in ``keychain``."""

    def __init__(
        self, *, keychain: Keychain, services: Services, account: str, clock: Clock
    ) -> None:
        self._keychain = keychain
        self._services = services
        self._account = account
        self._clock = clock
        self._refused: tuple[float, Finding] | None = None

    @property
    def name(self) -> str:
        """How the source is called in words and logs."""
        return self._keychain.name

    def stamp(self) -> None:
        """Give nothing: only reading the keychain would tell."""

    async def look(self) -> Finding:
        """Read the keychain, unless it refused a moment ago."""
        if self._refused is not None and self._clock.monotonic() < self._refused[0]:
            return self._refused[1]
        try:
            items = await self._keychain.read(self._services.both(), self._account)
        except KeychainError as error:
            finding = Finding(self.name, None, error.message, warning=error.hint != "")
            self._refused = (self._clock.monotonic() + _PAUSE_S, finding)
            return finding
        self._refused = None
        return self._judged(items)

    def _judged(self, items: Mapping[str, str]) -> Finding:
        """Take the sign-in or else the API key, and say of each that is there why not."""
        faults = []
        if (document := items.get(self._services.sign_in)) is not None:
            try:
                return self._signed_in(document)
            except NobodySignedIn:
                pass  # it holds logins to other services
            except ValueError as error:
                faults.append(f"{self._services.sign_in}: {error}")
        if (key := items.get(self._services.api_key)) is not None:
            try:
                return self._found(Kind.API_KEY, one_word(key), self._services.api_key)
            except ValueError as error:
                faults.append(f"{self._services.api_key}: {error}")
        if faults:
            return Finding(self.name, None, "; ".join(faults), warning=True)
        return Finding(self.name, None, f"holds no sign-in of Claude Code for {self._account}")

    def _signed_in(self, document: str) -> Finding:
        """Raises ValueError: there is no usable token in ``document``."""
        found = decode(document)
        if found.expires is not None and found.expires <= self._clock.now():
            raise ValueError(EXPIRED)
        return self._found(Kind.OAUTH, found.token, self._services.sign_in, found.expires)

    def _found(self, kind: Kind, secret: str, item: str, expires: float | None = None) -> Finding:
        return Finding(self.name, Credential(kind, secret, f"{self.name}: {item}", expires))
