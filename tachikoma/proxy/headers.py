"""Which headers go on, and with whose credential (pure)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

from tachikoma.credentials.port import Credential, Kind

Headers = Iterable[tuple[str, str]]
Pairs = list[tuple[str, str]]

OAUTH_BETA = "oauth-2025-04-20"
"""Without it in anthropic-beta the API refuses an OAuth token."""
SERVER = "tachikoma"

_OF_ONE_CONNECTION = frozenset(
    {
        "connection",
        "content-length",  # said anew with the body, as its framing is
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_OURS_TO_SAY = frozenset({"host", "authorization", "x-api-key", "expect", "accept-encoding"})
_READABLE = frozenset({"gzip", "deflate", "identity"})
"""The codings of an answer in which tokens can be counted."""


def to_api(given: Headers, credential: Credential, *, host: str) -> Pairs:
    """Give what goes to the API: the client's headers with the real credential in place.

    Of the codings that the client accepts those remain that the proxy can read, because it
    counts the tokens of the answer.
    """
    given = list(given)
    kept = [("Host", host), *_end_to_end(given, _OURS_TO_SAY)]
    accepted = [value for name, value in given if name.lower() == "accept-encoding"]
    if accepted:
        kept.append(("Accept-Encoding", _readable(accepted)))
    match credential.kind:
        case Kind.API_KEY:
            kept.append(("x-api-key", credential.secret))
        case Kind.OAUTH:
            betas = [
                beta.strip()
                for name, value in kept
                if name.lower() == "anthropic-beta"
                for beta in value.split(",")
            ]
            betas = [beta for beta in betas if beta and beta != OAUTH_BETA]
            kept = [(name, value) for name, value in kept if name.lower() != "anthropic-beta"]
            kept.append(("Authorization", f"Bearer {credential.secret}"))
            kept.append(("anthropic-beta", ",".join([*betas, OAUTH_BETA])))
        case Kind.BEARER:
            kept.append(("Authorization", f"Bearer {credential.secret}"))
        case Kind.NONE:
            pass
        case _:
            assert_never(credential.kind)
    return kept


def to_host(given: Headers, *, host: str) -> Pairs:
    """Give what goes to a host that a VM may reach: all that is meant for it."""
    return [("Host", host), *_end_to_end(given, frozenset({"host", "expect"}))]


def to_client(given: Headers) -> Pairs:
    """Give what goes back: all but what belongs to one connection."""
    kept = _end_to_end(given, frozenset())
    if not any(name.lower() == "server" for name, _ in kept):
        kept.append(("Server", SERVER))
    return kept


def _readable(accepted: list[str]) -> str:
    codings = [each.strip() for value in accepted for each in value.split(",")]
    kept = [each for each in codings if each.partition(";")[0].strip().lower() in _READABLE]
    return ", ".join(kept) or "identity"


def _end_to_end(given: Headers, dropped: frozenset[str]) -> Pairs:
    """Give the headers that are meant for the other end, without those in ``dropped``."""
    pairs = list(given)
    named = {
        each.strip().lower()
        for name, value in pairs
        if name.lower() == "connection"
        for each in value.split(",")
    }
    left_out = _OF_ONE_CONNECTION | dropped | named
    return [(name, value) for name, value in pairs if name.lower() not in left_out]
