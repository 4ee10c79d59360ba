"""What the proxy needs: the user's credential of the moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class Kind(StrEnum):
    """How a credential is presented to the API."""

    OAUTH = "oauth"
    """A bearer token of Claude's own sign-in; the API wants a beta header with it."""
    API_KEY = "api_key"
    BEARER = "bearer"
    """A bearer token of a gateway, with nothing besides."""
    NONE = "none"
    """Nothing at all: a gateway that knows its users by other means."""


@dataclass(frozen=True, slots=True)
class Credential:
    """A secret, what it is and which source gave it. Its repr does not show the secret.

    ``expires`` is seconds since the epoch, None where unknown.
    """

    kind: Kind
    secret: str = field(repr=False)
    source: str
    expires: float | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """What one source said: a credential, or why there is none.

    ``warning`` marks a source that was meant to have one and does not work, as against one that
    nobody set up. ``provider`` names what this host uses in place of the Anthropic API, if that
    is what the source found.
    """

    source: str
    credential: Credential | None
    why: str = ""
    warning: bool = False
    provider: str = ""


class Source(Protocol):
    """One place where a credential may be."""

    @property
    def name(self) -> str:
        """How the source is called in words and logs."""
        ...

    def stamp(self) -> object:
        """Give something cheap that compares unequal once a new look may find something else.

        A source that cannot tell gives None; it is asked again when its answer gets old.
        """
        ...

    async def look(self) -> Finding:
        """Look there. Never raises: a failing source gives a finding with the reason."""
        ...


class Keychain(Protocol):
    """The operating system's store of passwords. It is only read."""

    @property
    def name(self) -> str:
        """How its makers call it."""
        ...

    async def read(self, services: Sequence[str], account: str) -> Mapping[str, str]:
        """Give what ``account`` keeps for each of ``services``; those without an item are absent.

        Raises:
            KeychainError: it cannot be asked, is locked, or does not answer in time.
        """
        ...
