"""Which hosts a VM may reach through the forward proxy (pure).

A name is judged before it is looked up, its addresses afterwards, and what was judged is what is
connected to. No rule opens loopback, link-local, metadata or the like; a private address is open
only to a rule that names that very address.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

PORTS = frozenset({80, 443})
"""What a rule without a port means."""
GROUPS = ("@apt", "@pip", "@npm", "@cargo", "@go", "@git")
RULE = "a host, *.domain, address or group (@apt, @pip, @npm, @cargo, @go, @git), with :PORT or not"

_LABEL = r"(?!-)[a-z0-9_-]{1,63}(?<!-)"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_LONGEST_NAME = 253
_OF_THIS_HOST = ("localhost", "localdomain")

_v4 = ipaddress.IPv4Network
_v6 = ipaddress.IPv6Network
_NEVER_V4 = tuple(
    map(
        _v4,
        (
            "0.0.0.0/8",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "224.0.0.0/4",
            "240.0.0.0/4",
            "100.100.100.200/32",  # metadata of Alibaba
            "168.63.129.16/32",  # the host side of Azure
            "192.0.0.192/32",  # metadata of Oracle
        ),
    )
)
_ONLY_BY_ADDRESS_V4 = tuple(
    map(
        _v4,
        (
            "10.0.0.0/8",
            "100.64.0.0/10",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
        ),
    )
)
_NAT64 = _v6("64:ff9b::/96")
_METADATA_V6 = tuple(map(_v6, ("fd00:ec2::254/128", "fd20:ce::254/128")))
_UNIQUE_LOCAL = _v6("fc00::/7")
_GLOBAL_V6 = _v6("2000::/3")
_NEVER_V6 = tuple(  # within 2000::/3
    map(_v6, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))
)


class BadRuleError(ValueError):
    """A rule, or a host, that cannot be understood; says why."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One host, or all below a domain, with its ports. ``address`` if it names exactly one."""

    host: str
    below: bool
    ports: frozenset[int]
    address: Address | None = None

    def covers(self, host: str, port: int) -> bool:
        """Tell whether it is about ``host`` (as ``canonical`` gives it) and ``port``."""
        if port not in self.ports:
            return False
        return host.endswith(f".{self.host}") if self.below else host == self.host

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        ports = "" if self.ports == PORTS else f":{min(self.ports)}"
        return f"{'*.' if self.below else ''}{host}{ports}"


@dataclass(frozen=True, slots=True)
class Egress:
    """What a VM may reach: what ``allowed`` covers and ``denied`` does not."""

    allowed: tuple[Rule, ...] = ()
    denied: tuple[Rule, ...] = ()

    def allows(self, host: str, port: int) -> bool:
        """Tell whether the name, or the address as it was named, may be reached."""
        return _covered(self.allowed, host, port) and not _covered(self.denied, host, port)

    def why_not_address(self, address: Address, port: int) -> str:
        """Say why ``address`` may not be connected to, whoever's name it is; "" if it may."""
        if why := why_never(address):
            return why
        if not is_private(address):
            return ""
        named = str(address)
        if any(rule.address == address and port in rule.ports for rule in self.allowed):
            return f"{named} is denied" if _covered(self.denied, named, port) else ""
        return f"{named} is a private address, and no rule names it"


def parse_rule(text: str) -> Rule:
    """Read a rule that is no group.

    Raises:
        BadRuleError: it is none.
    """
    host, port = _split_port(text.strip())
    ports = PORTS if port is None else frozenset({_port(port)})
    below = host.startswith("*.")
    name = host.removeprefix("*.")
    if "*" in name:
        raise BadRuleError(f"{text!r}: a star stands only for what is below a domain (*.domain)")
    name = canonical(_in_ascii(name))
    address = literal(name)
    if below and (address is not None or "." not in name):
        raise BadRuleError(f"{text!r}: a star needs a domain of two labels or more behind it")
    if address is not None and (why := why_never(address)):
        raise BadRuleError(f"{text!r} can never be allowed: {why}")
    return Rule(name, below, ports, address)


def canonical(host: str) -> str:
    """Give the one spelling of ``host`` (without brackets) by which it is compared.

    Raises:
        BadRuleError: it is neither a name nor an address in its usual spelling. What some
            programs take for an address as well (0x7f000001, 127.1, 010.0.0.1) is refused.
    """
    if ":" in host:
        try:
            return str(ipaddress.IPv6Address(host if "%" not in host else ""))
        except ValueError:
            raise BadRuleError(f"{host[:60]!r} is no address") from None
    name = host.lower().removesuffix(".")
    if _NUMBER.fullmatch(name.rpartition(".")[2]):
        try:
            return str(ipaddress.IPv4Address(name))
        except ValueError:
            raise BadRuleError(f"{host[:60]!r} is a number in disguise, no host") from None
    if len(name) > _LONGEST_NAME or _NAME.fullmatch(name) is None:
        raise BadRuleError(f"{host[:60]!r} is no host name")
    return name


def split_authority(text: str, *, default_port: int | None) -> tuple[str, int]:
    """Read ``host:port``; gives the host in its one spelling.

    Raises:
        BadRuleError: it is something else, or the port is missing and has no default.
    """
    host, port = _split_port(text)
    if port is None and default_port is None:
        raise BadRuleError("the target must be HOST:PORT")
    number = _port(port) if port is not None else default_port
    assert number is not None
    return canonical(host), number


def literal(host: str) -> Address | None:
    """Give the address that ``host`` (as ``canonical`` gives it) is; None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def is_of_this_host(name: str) -> bool:
    """Tell whether a name means the host itself, whatever it resolves to."""
    return name.rpartition(".")[2] in _OF_THIS_HOST


def why_never(address: Address) -> str:
    """Say why no rule can open ``address``; "" if one can."""
    if isinstance(address, ipaddress.IPv4Address):
        closed = any(address in network for network in _NEVER_V4)
        return f"{address} is of this host, its link or its provider" if closed else ""
    if address in _NAT64:
        inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        return f"{address} stands for {inner}" if why_never(inner) or is_private(inner) else ""
    if any(address in network for network in _METADATA_V6):
        return f"{address} is of this host, its link or its provider"
    if address in _UNIQUE_LOCAL:
        return ""
    if address not in _GLOBAL_V6 or any(address in network for network in _NEVER_V6):
        return f"{address} is of this host, its link, or stands for another address"
    return ""


def is_private(address: Address) -> bool:
    """Tell whether ``address`` is open only to a rule that names it."""
    if isinstance(address, ipaddress.IPv4Address):
        return any(address in network for network in _ONLY_BY_ADDRESS_V4)
    return address in _UNIQUE_LOCAL


def reachable(egress: Egress, found: Sequence[Address], port: int) -> tuple[list[Address], str]:
    """Give those of the addresses of a name that may be connected to, or why none may."""
    whys = [egress.why_not_address(address, port) for address in found]
    fit = [address for address, why in zip(found, whys, strict=True) if not why]
    return fit, "" if fit else (whys or ["it has no address"])[0]


def rules(texts: Iterable[str]) -> tuple[Rule, ...]:
    """Read rules, leaving out what is none."""
    found = []
    for text in texts:
        try:
            found.append(parse_rule(text))
        except BadRuleError:
            continue
    return tuple(found)


def _covered(by: tuple[Rule, ...], host: str, port: int) -> bool:
    return any(rule.covers(host, port) for rule in by)


def _split_port(text: str) -> tuple[str, str | None]:
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or ":" not in host or (rest and not rest.startswith(":")):
            raise BadRuleError(f"{text[:60]!r} is no host")
        return host, rest[1:] if rest else None
    if text.count(":") > 1:  # an IPv6 address without brackets, hence without a port
        return text, None
    host, colon, port = text.partition(":")
    return host, port if colon else None


def _port(text: str) -> int:
    if _PORT.fullmatch(text) is None or int(text) > 65535:
        raise BadRuleError(f"{text[:20]!r} is no port")
    return int(text)


def _in_ascii(name: str) -> str:
    """Give a name of any script as it stands in the name system."""
    if name.isascii():
        return name
    try:
        return name.encode("idna").decode("ascii")
    except UnicodeError:
        raise BadRuleError(f"{name[:60]!r} is no host name") from None
