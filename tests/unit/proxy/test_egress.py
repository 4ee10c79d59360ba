from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tachikoma.proxy.egress import (
    BadRuleError,
    Egress,
    canonical,
    is_of_this_host,
    is_private,
    literal,
    parse_rule,
    reachable,
    rules,
    split_authority,
    why_never,
)


def address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.ip_address(text)


NEVER = [
    "0.0.0.0",
    "0.1.2.3",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.0.1",
    "169.254.169.254",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:93.184.216.34",
    "::ffff:0:127.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "3fff::1",
    "4000::1",
    "fd00:ec2::254",
    "fd20:ce::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
]
PRIVATE = [
    "10.0.0.1",
    "100.64.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.2.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.7",
    "203.0.113.7",
    "fc00::1",
    "fd12:3456::1",
]
PUBLIC = ["93.184.216.34", "1.1.1.1", "172.32.0.1", "2606:4700::1111", "64:ff9b::1.1.1.1"]


@pytest.mark.parametrize("text", NEVER)
def test_some_addresses_no_rule_can_open(text: str) -> None:
    assert why_never(address(text))
    with pytest.raises(BadRuleError, match="never be allowed"):
        parse_rule(text)


@pytest.mark.parametrize("text", PRIVATE)
def test_a_private_address_is_open_only_to_a_rule_that_names_it(text: str) -> None:
    assert not why_never(address(text))
    assert is_private(address(text))
    by_name = Egress(rules(["intern.example"]))
    assert "no rule names it" in by_name.why_not_address(address(text), 443)
    assert reachable(by_name, [address(text)], 443)[0] == []
    named = Egress(rules(["intern.example", text]))
    assert reachable(named, [address(text)], 443) == ([address(text)], "")
    assert reachable(named, [address(text)], 8080)[0] == []
    denied = Egress(named.allowed, rules([text]))
    assert reachable(denied, [address(text)], 443)[0] == []


@pytest.mark.parametrize("text", PUBLIC)
def test_a_public_address_is_open_to_an_allowed_name(text: str) -> None:
    assert reachable(Egress(), [address(text)], 443) == ([address(text)], "")


def test_of_many_addresses_only_those_are_taken_that_may_be_reached() -> None:
    found = [address("127.0.0.1"), address("10.0.0.1"), address("1.1.1.1")]
    assert reachable(Egress(), found, 443) == ([address("1.1.1.1")], "")
    assert reachable(Egress(), [], 443) == ([], "it has no address")


@pytest.mark.parametrize(
    ("rule", "host", "port", "covered"),
    [
        ("example.com", "example.com", 443, True),
        ("example.com", "example.com", 80, True),
        ("example.com", "example.com", 8443, False),
        ("example.com:8443", "example.com", 8443, True),
        ("example.com:8443", "example.com", 443, False),
        ("example.com", "www.example.com", 443, False),
        ("example.com", "evilexample.com", 443, False),
        ("example.com", "example.com.evil.org", 443, False),
        ("*.example.com", "www.example.com", 443, True),
        ("*.example.com", "a.b.example.com", 443, True),
        ("*.example.com", "example.com", 443, False),
        ("*.example.com", "evilexample.com", 443, False),
        ("Example.COM.", "example.com", 443, True),
        ("[fd00::0:1]:8080", "fd00::1", 8080, True),
        ("fd00::1", "fd00::1", 443, True),
    ],
)
def test_a_rule_covers_a_host_or_what_is_below_a_domain(
    rule: str, host: str, port: int, covered: bool
) -> None:
    assert parse_rule(rule).covers(host, port) is covered


def test_a_denial_beats_what_is_allowed() -> None:
    egress = Egress(rules(["*.example.com"]), rules(["bad.example.com"]))
    assert egress.allows("good.example.com", 443)
    assert not egress.allows("bad.example.com", 443)


@pytest.mark.parametrize(
    "text",
    ["example.com", "*.example.com", "example.com:8443", "10.1.2.3", "[fd00::1]:8080", "[fd00::1]"],
)
def test_a_rule_is_written_as_it_is_read(text: str) -> None:
    assert str(parse_rule(text)) == text
    assert parse_rule(str(parse_rule(text))) == parse_rule(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        "*.com",
        "*.10.0.0.1",
        "a.*.example.com",
        "*example.com",
        "http://example.com",
        "example.com/path",
        "user@example.com",
        "example.com:0",
        "example.com:99999",
        "example.com:",
        "example.com:http",
        "exa mple.com",
        "-example.com",
        "example-.com",
        "a..b",
        "x" * 64 + ".com",
        ".".join(["abcdefgh"] * 30),
        "[::1",
        "[1.2.3.4]:80",
        "fe80::1%eth0",
        "@pip",
        "0x7f000001",
        "10.0.0.010",
    ],
)
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(BadRuleError):
        parse_rule(text)
    assert rules([text, "ok.example"]) == rules(["ok.example"])


@pytest.mark.parametrize(
    "host",
    [
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "017700000001",
        "127.1",
        "127.0.1",
        "127.0.0.01",
        "127.0.0.0x1",
        "127.0.0.1.1",
        "1.2.3.256",
        "a.1",
        "a.0x",
        "١٢٧.0.0.1",
        "１２７.0.0.1",
        "ⓛocalhost",
        "local host",
        "exa%6dple.com",
        "a,b",
        "",
        ".",
        "..",
        "::1%lo",
        ":::",
    ],
)
def test_a_number_in_disguise_and_the_like_is_no_host(host: str) -> None:
    with pytest.raises(BadRuleError):
        canonical(host)


@pytest.mark.parametrize(
    ("host", "one"),
    [
        ("Example.COM.", "example.com"),
        ("127.0.0.1.", "127.0.0.1"),
        ("0:0:0:0:0:0:0:1", "::1"),
        ("FD00::00:1", "fd00::1"),
        ("_srv.example.com", "_srv.example.com"),
        ("0x.example", "0x.example"),
    ],
)
def test_a_host_has_one_spelling(host: str, one: str) -> None:
    assert canonical(host) == one


@pytest.mark.parametrize(
    "text", ["example.com", ":443", "example.com:", "[::1", "[::1]x:443", "a:443:b", "[a]:443"]
)
def test_a_target_without_port_or_with_two_is_refused(text: str) -> None:
    with pytest.raises(BadRuleError):
        split_authority(text, default_port=None)


def test_names_of_the_host_itself_are_known() -> None:
    for name in ("localhost", "x.localhost", "localhost.localdomain"):
        assert is_of_this_host(name)
    assert not is_of_this_host("localhost.example.com")


@given(st.text(max_size=30))
def test_whatever_is_written_it_is_a_rule_or_refused(text: str) -> None:
    for rule in rules([text]):
        assert str(parse_rule(str(rule))) == str(rule)
        assert rule.host.isascii()
        assert rule.address is None or not why_never(rule.address)


@given(st.ip_addresses())
def test_an_address_that_may_be_reached_is_global_as_python_knows_it(
    found: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    if reachable(Egress(), [found], 443)[0] and not str(found).startswith("64:ff9b"):
        assert found.is_global
        assert not found.is_multicast
    assert literal(canonical(str(found))) == found
