"""What the proxy needs: the user's credential of the moment."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class Kind(StrEnum):
    """How a credential is presented to the API."""

    OAUTH = "oauth"
    API_KEY = "api_key"


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
    """What one source said: a credential, or why there is none."""

    source: str
    credential: Credential | None
    why: str = ""


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
