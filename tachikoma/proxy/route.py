"""What a request may do: the whole security decision of the proxy, without any I/O.

A request is answered here (``Health``, ``Hello``), refused (``Deny``), sent to the one upstream
with the host's credential (``Forward``), or let out to a host that its VM may reach: as a
connection (``Tunnel``) or, in plain HTTP, as a request (``Fetch``). There is no other way through:
the upstream is fixed, only paths that mean the same to everybody who reads them pass, and a VM
reaches no host that nobody allowed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from tachikoma.model.names import VmName
from tachikoma.proxy.egress import BadRuleError, Egress, is_of_this_host, split_authority

_ASKED_WITHOUT_TOKEN = frozenset({"/", "/api/hello"})
"""Where Claude Code warms up its connection."""
_FORWARDED_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
_FETCHED_METHODS = _FORWARDED_METHODS | {"OPTIONS", "PROPFIND", "REPORT", "MERGE"}
_READING_METHODS = frozenset({"GET", "HEAD"})
_COUNT_TOKENS = "/v1/messages/count_tokens"
_API_PATH = re.compile(r"/v1(?:/[A-Za-z0-9._~:@+,=-]+)+/?")
"""No percent sign: nothing in it can be decoded into something else further on."""
_QUERY = re.compile(r"[\x21\x24-\x5b\x5d\x5f-\x7e]*")
_ABSOLUTE = re.compile(
    r"http://([^/?#\\@\s]+)((?:[/?][\x21\x22\x24-\x5b\x5d-\x7e]*)?)", re.IGNORECASE
)
_DOTS = frozenset({".", ".."})
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*")
_BEARER = re.compile(r"bearer +(\S+)", re.IGNORECASE)
_BASIC = re.compile(r"basic +([A-Za-z0-9+/]+={0,2})", re.IGNORECASE)
_CONNECTION_OPTIONS = frozenset({"close", "keep-alive", "te", "proxy-connection"})
_TRICKS = frozenset({"upgrade", "trailer", "http2-settings", "proxy-authenticate"})


@dataclass(frozen=True, slots=True)
class RequestHead:
    """A request as it came: method, target as it stood in the request line, headers in order."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()

    def all(self, name: str) -> list[str]:
        """Give every value of the header called ``name`` (in lower case)."""
        return [value for each, value in self.headers if each.lower() == name]


@dataclass(frozen=True, slots=True)
class Tenant:
    """A VM that may use the proxy: its branch, and what it may reach besides the API.

    ``since`` is when the VM was made: what an earlier one of that name spent is not its own.
    """

    vm: VmName
    branch: str = ""
    egress: Egress = field(default_factory=Egress)
    since: float = 0.0


@dataclass(frozen=True, slots=True)
class Policy:
    """What the decision rests on.

    ``upstream`` is the base URL without a slash at its end. ``tenants`` maps the SHA-256 (hex)
    of each live token to its VM; None means that nobody knows who may pass, so nobody may.
    ``used_up`` says of VMs whose budget is spent how that came about.
    """

    upstream: str
    tenants: Mapping[str, Tenant] | None
    used_up: Mapping[VmName, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Deny:
    """Refused. ``kind`` is the error type in the API's terms; ``why`` is for people.

    ``retry`` tells whether the same request may succeed a moment later.
    """

    status: int
    kind: str
    why: str
    retry: bool = False
    tenant: Tenant | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """Answer that the proxy lives."""


@dataclass(frozen=True, slots=True)
class Hello:
    """Answer a client that only warms up its connection."""


@dataclass(frozen=True, slots=True)
class Forward:
    """Send it to ``url`` with the host's credential, on behalf of ``tenant``."""

    url: str
    tenant: Tenant


@dataclass(frozen=True, slots=True)
class Tunnel:
    """Join the client with ``host`` and ``port``, if its address may be reached as well."""

    host: str
    port: int
    tenant: Tenant


@dataclass(frozen=True, slots=True)
class Fetch:
    """Send it as ``target`` to ``host`` and ``port`` in plain HTTP, without any credential."""

    host: str
    port: int
    target: str
    tenant: Tenant


Route = Deny | Health | Hello | Forward | Tunnel | Fetch


def route(head: RequestHead, policy: Policy) -> Route:
    """Decide what becomes of a request."""
    if (refusal := _crooked(head)) is not None:
        return refusal
    if head.method == "CONNECT":
        return _tunnel(head, policy)
    if not head.target.startswith("/"):
        return _fetch(head, policy)
    if head.target.startswith("//"):
        return _denied(400, "the request target must be a path")
    path = head.target.partition("?")[0]
    return _own(head.method, path) or _forward(head, policy)


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


def _crooked(head: RequestHead) -> Deny | None:
    """Refuse headers that the next reader may take for something else."""
    for name, value in head.headers:
        if _HEADER_VALUE.fullmatch(value) is None:
            return _denied(400, "a header holds characters other than printable ASCII")
        lower = name.lower()
        if lower in _TRICKS:
            return _denied(400, f"the header {lower} is not taken")
        if lower == "connection":
            options = {each.strip().lower() for each in value.split(",")} - {""}
            if not options <= _CONNECTION_OPTIONS:
                return _denied(400, "Connection names something other than close and keep-alive")
    return None


# The API


def _forward(head: RequestHead, policy: Policy) -> Forward | Deny:
    path, mark, query = head.target.partition("?")
    if (refusal := _malformed(path, query)) is not None:
        return refusal
    tenant = _owner(_api_token(head), policy)
    if isinstance(tenant, Deny):
        return tenant
    if head.method not in _FORWARDED_METHODS:
        return _denied(405, f"{head.method} is not forwarded", tenant=tenant)
    spent = policy.used_up.get(tenant.vm, "")
    if spent and head.method == "POST" and path != _COUNT_TOKENS:
        return Deny(403, "permission_error", spent, tenant=tenant)
    return Forward(f"{policy.upstream}{path}{mark}{query}", tenant)


def _malformed(path: str, query: str) -> Deny | None:
    if _API_PATH.fullmatch(path) is None:
        if path == "/v1" or path.startswith("/v1/"):
            return _denied(400, "the path holds something that the API does not use")
        return Deny(404, "not_found_error", "only /v1 is forwarded")
    if not _DOTS.isdisjoint(path.split("/")):
        return _denied(400, "the path must not climb")
    if _QUERY.fullmatch(query) is None:
        return _denied(400, "the query holds characters that belong in no URL")
    return None


# Everything else


def _tunnel(head: RequestHead, policy: Policy) -> Tunnel | Deny:
    try:
        host, port = split_authority(head.target, default_port=None)
    except BadRuleError as error:
        return _denied(400, str(error))
    if head.all("content-length") or head.all("transfer-encoding"):
        return _denied(400, "CONNECT has no body")
    found = _let_out(head, policy, (host, port), default_port=443)
    return found if isinstance(found, Deny) else Tunnel(host, port, found)


def _fetch(head: RequestHead, policy: Policy) -> Fetch | Deny:
    given = _ABSOLUTE.fullmatch(head.target)
    if given is None:
        return _denied(400, "the request target must be a path, or an http URL of a host")
    try:
        host, port = split_authority(given[1], default_port=80)
    except BadRuleError as error:
        return _denied(400, str(error))
    if head.method not in _FETCHED_METHODS:
        return _denied(405, f"{head.method} is not passed on")
    found = _let_out(head, policy, (host, port), default_port=80)
    if isinstance(found, Deny):
        return found
    target = given[2] if given[2].startswith("/") else f"/{given[2]}"
    return Fetch(host, port, target, found)


def _let_out(
    head: RequestHead, policy: Policy, to: tuple[str, int], *, default_port: int
) -> Tenant | Deny:
    """Give the VM that asks, if it may reach that host and port by name."""
    host, port = to
    try:
        named, _ = split_authority("".join(head.all("host")), default_port=default_port)
    except BadRuleError:
        named = ""
    if named != host:
        return _denied(400, "the Host header is not the host of the request target")
    tenant = _owner(_proxy_token(head), policy)
    if isinstance(tenant, Deny):
        return Deny(407, tenant.kind, tenant.why, tenant.retry) if tenant.status == 401 else tenant
    if is_of_this_host(host) or not tenant.egress.allows(host, port):
        return unreachable(f"{host}:{port} is not allowed for this VM", tenant)
    return tenant


def unreachable(why: str, tenant: Tenant) -> Deny:
    """Refuse to let ``tenant`` out to a host, by its name or by what that resolved to."""
    hint = "`tachikoma egress` on the host tells and changes what is"
    return Deny(403, "permission_error", f"{why}; {hint}", tenant=tenant)


# Who asks


def _owner(token: str | None, policy: Policy) -> Tenant | Deny:
    """Give the VM whose token the request carries."""
    if policy.tenants is None:
        why = "the credential proxy cannot read which VMs exist; see its log on the host"
        return Deny(503, "api_error", why, retry=True)
    if token is None:
        return _unknown("the request carries no token, or more than one")
    presented = token_hash(token).encode()
    found = None
    for known, tenant in policy.tenants.items():  # to the end: the time says nothing
        if hmac.compare_digest(known.encode(), presented):
            found = tenant
    return found or _unknown("its token belongs to no VM; was the VM destroyed?")


def _api_token(head: RequestHead) -> str | None:
    """Give the API key, or else the bearer token; a client with both means the key."""
    keys = [value.strip() for value in head.all("x-api-key")]
    if keys:
        return keys[0] if len(keys) == 1 and keys[0] else None
    bearers = head.all("authorization")
    given = _BEARER.fullmatch(bearers[0].strip()) if len(bearers) == 1 else None
    return given[1] if given else None


def _proxy_token(head: RequestHead) -> str | None:
    """Give the password of the proxy URL, whatever its user name, or a bearer token."""
    given = [value.strip() for value in head.all("proxy-authorization")]
    if len(given) != 1:
        return None
    if bearer := _BEARER.fullmatch(given[0]):
        return bearer[1]
    basic = _BASIC.fullmatch(given[0])
    try:
        pair = base64.b64decode(basic[1], validate=True).decode("ascii") if basic else ""
    except (binascii.Error, ValueError):
        return None
    return pair.partition(":")[2] or None


def _denied(status: int, why: str, *, tenant: Tenant | None = None) -> Deny:
    return Deny(status, "invalid_request_error", why, tenant=tenant)


def _unknown(why: str) -> Deny:
    return Deny(401, "authentication_error", why)
