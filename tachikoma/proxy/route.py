"""What a request may do: the whole security decision of the proxy, without any I/O.

A request is answered here (``Health``, ``Hello``), refused (``Deny``), or sent to the one
upstream with the host's credential (``Forward``). There is no other way through: the upstream
is fixed, and only paths that mean the same to everybody who reads them pass.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass

from tachikoma.model.names import VmName

_ASKED_WITHOUT_TOKEN = frozenset({"/", "/api/hello"})
"""Where Claude Code warms up its connection."""
_FORWARDED_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
_READING_METHODS = frozenset({"GET", "HEAD"})
_API_PATH = re.compile(r"/v1(?:/[A-Za-z0-9._~:@+,=-]+)+/?")
"""No percent sign: nothing in it can be decoded into something else further on."""
_QUERY = re.compile(r"[\x21\x24-\x5b\x5d\x5f-\x7e]*")
_DOTS = frozenset({".", ".."})
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*")
_BEARER = re.compile(r"bearer +(\S+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class RequestHead:
    """A request as it came: method, target as it stood in the request line, headers in order."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Policy:
    """What the decision rests on.

    ``upstream`` is the base URL without a slash at its end. ``tenants`` maps the SHA-256 (hex)
    of each live token to its VM; None means that nobody knows who may pass, so nobody may.
    """

    upstream: str
    tenants: Mapping[str, VmName] | None


@dataclass(frozen=True, slots=True)
class Deny:
    """Refused. ``kind`` is the error type in the API's terms; ``why`` is for people.

    ``retry`` tells whether the same request may succeed a moment later.
    """

    status: int
    kind: str
    why: str
    retry: bool = False
    vm: VmName | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """Answer that the proxy lives."""


@dataclass(frozen=True, slots=True)
class Hello:
    """Answer a client that only warms up its connection."""


@dataclass(frozen=True, slots=True)
class Forward:
    """Send it to ``url`` with the host's credential, on behalf of ``vm``."""

    url: str
    vm: VmName


Route = Deny | Health | Hello | Forward


def route(head: RequestHead, policy: Policy) -> Route:  # noqa: PLR0911 - one line a decision
    """Decide what becomes of a request."""
    path, mark, query = head.target.partition("?")
    if head.method == "CONNECT":
        return _denied(405, "this proxy opens no tunnels")
    if not path.startswith("/") or path.startswith("//"):
        return _denied(400, "the request target must be a path")
    if (own := _own(head.method, path)) is not None:
        return own
    if (refusal := _malformed(head, path, query)) is not None:
        return refusal
    vm = _owner(head, policy)
    if isinstance(vm, Deny):
        return vm
    if head.method not in _FORWARDED_METHODS:
        return _denied(405, f"{head.method} is not forwarded", vm=vm)
    return Forward(f"{policy.upstream}{path}{mark}{query}", vm)


def token_hash(token: str) -> str:
    """Give what is recorded of a token: its SHA-256 in hex."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def _own(method: str, path: str) -> Health | Hello | Deny | None:
    """Decide about the paths that the proxy answers itself; None for all others."""
    if path == "/health":
        return Health() if method == "GET" else _denied(405, "/health answers GET")
    if path in _ASKED_WITHOUT_TOKEN:
        return Hello() if method in _READING_METHODS else _denied(405, "only GET and HEAD")
    return None


def _malformed(head: RequestHead, path: str, query: str) -> Deny | None:
    if _API_PATH.fullmatch(path) is None:
        if path == "/v1" or path.startswith("/v1/"):
            return _denied(400, "the path holds something that the API does not use")
        return Deny(404, "not_found_error", "only /v1 is forwarded")
    if not _DOTS.isdisjoint(path.split("/")):
        return _denied(400, "the path must not climb")
    if _QUERY.fullmatch(query) is None:
        return _denied(400, "the query holds characters that belong in no URL")
    if not all(_HEADER_VALUE.fullmatch(value) for _, value in head.headers):
        return _denied(400, "a header holds characters other than printable ASCII")
    return None


def _owner(head: RequestHead, policy: Policy) -> VmName | Deny:
    """Give the VM whose token the request carries."""
    if policy.tenants is None:
        why = "the credential proxy cannot read which VMs exist; see its log on the host"
        return Deny(503, "api_error", why, retry=True)
    token = _token(head)
    if token is None:
        return _unknown("the request carries no token, or more than one")
    presented = token_hash(token)
    found = None
    for known, vm in policy.tenants.items():  # to the end: the time says nothing
        if hmac.compare_digest(known.encode(), presented.encode()):
            found = vm
    return found or _unknown("its token belongs to no VM; was the VM destroyed?")


def _token(head: RequestHead) -> str | None:
    """Give the API key, or else the bearer token; a client with both means the key."""
    keys = [value.strip() for name, value in head.headers if name.lower() == "x-api-key"]
    if keys:
        return keys[0] if len(keys) == 1 and keys[0] else None
    bearers = [value for name, value in head.headers if name.lower() == "authorization"]
    given = _BEARER.fullmatch(bearers[0].strip()) if len(bearers) == 1 else None
    return given[1] if given else None


def _denied(status: int, why: str, *, vm: VmName | None = None) -> Deny:
    return Deny(status, "invalid_request_error", why, vm=vm)


def _unknown(why: str) -> Deny:
    return Deny(401, "authentication_error", why)
