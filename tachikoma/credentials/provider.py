"""What the environment says about another way to Claude: a gateway, Bedrock, Vertex, Foundry.

A gateway speaks the Anthropic API at another address, so the proxy serves it: requests go to
ANTHROPIC_BASE_URL with ANTHROPIC_AUTH_TOKEN, if there is one. The clouds' services speak protocols
of their own, with requests that are signed; the proxy does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tachikoma.credentials.port import Credential, Finding, Kind, Source

BASE_URL = "ANTHROPIC_BASE_URL"
AUTH_TOKEN = "ANTHROPIC_AUTH_TOKEN"  # noqa: S105 - the name of a variable
_ANTHROPIC = "anthropic.com"
_SWITCHES = {
    "CLAUDE_CODE_USE_BEDROCK": "Amazon Bedrock",
    "CLAUDE_CODE_USE_VERTEX": "Google Vertex AI",
    "CLAUDE_CODE_USE_FOUNDRY": "Microsoft Foundry",
}
_HERE = frozenset({"localhost", "::1"})
_ON = frozenset({"1", "true", "yes", "on"})


def gateway(environment: Mapping[str, str]) -> str | None:
    """Give the host of the gateway that ANTHROPIC_BASE_URL leads to; None for Anthropic's own."""
    try:
        host = urlsplit(environment.get(BASE_URL, "").strip()).hostname
    except ValueError:
        return None  # the proxy refuses it with a reason
    if host is None or host == _ANTHROPIC or host.endswith(f".{_ANTHROPIC}"):
        return None
    return host


def remote_gateway(environment: Mapping[str, str]) -> str | None:
    """Give the host of the gateway if it is not on this machine."""
    host = gateway(environment)
    if host is None or host in _HERE or host.startswith("127."):
        return None
    return host


def for_gateway(environment: Mapping[str, str], sources: tuple[Source, ...]) -> tuple[Source, ...]:
    """Give ``sources`` as they may be asked: as they are, unless a gateway has its own token.

    With one, as in Claude Code itself, it is what the gateway gets. The user's sign-in with
    Anthropic is not shown to somebody else's server.
    """
    host = gateway(environment)
    if host is None or not environment.get(AUTH_TOKEN, "").strip():
        return sources
    why = f"is not for {host}, which has {AUTH_TOKEN}"
    return tuple(PassedOver(source.name, why) for source in sources)


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A source that must not be asked."""

    name: str
    why: str

    def stamp(self) -> None:
        """Give nothing: it stays like this."""

    async def look(self) -> Finding:
        """Say why it is not asked."""
        return Finding(self.name, None, self.why)


@dataclass(frozen=True, slots=True)
class ProviderSource:
    """The variables that choose another provider."""

    environment: Mapping[str, str] = field(repr=False)
    name: str = "gateway, Bedrock, Vertex"

    def stamp(self) -> None:
        """Give nothing: the environment of a process stays as it is."""

    async def look(self) -> Finding:
        """See whether there is a gateway, or a provider that cannot be served."""
        if gateway(self.environment) is not None:
            return Finding(self.name, Credential(Kind.NONE, "", BASE_URL))
        for switch, provider in _SWITCHES.items():
            if self.environment.get(switch, "").strip().lower() in _ON:
                why = (
                    f"{switch} is set, and the proxy does not speak {provider}'s protocol: set "
                    f"{BASE_URL} to a gateway before it, or give an Anthropic credential"
                )
                return Finding(self.name, None, why, warning=True, provider=provider)
        return Finding(self.name, None, "none is set up")
