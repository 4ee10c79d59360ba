from __future__ import annotations

import base64
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tachikoma.model.names import VmName
from tachikoma.proxy.egress import Egress, rules
from tachikoma.proxy.route import (
    Deny,
    Fetch,
    Forward,
    Health,
    Hello,
    Policy,
    RequestHead,
    Route,
    Tenant,
    Tunnel,
    route,
    token_hash,
)

UPSTREAM = "https://api.example"
VM = Tenant(VmName("tachikoma-repo-main"))
OTHER = Tenant(VmName("tachikoma-repo-other"))
POLICY = Policy(UPSTREAM, {token_hash("other"): OTHER, token_hash("token"): VM})
KEY = (("x-api-key", "token"),)


def asked(method: str, target: str, headers: tuple[tuple[str, str], ...] = KEY) -> Route:
    return route(RequestHead(method, target, headers), POLICY)


@pytest.mark.parametrize(
    ("method", "target", "expected"),
    [
        ("GET", "/health", Health()),
        ("GET", "/health?x=1", Health()),
        ("HEAD", "/", Hello()),
        ("GET", "/", Hello()),
        ("HEAD", "/?x", Hello()),
        ("HEAD", "/api/hello", Hello()),
    ],
)
def test_some_paths_are_answered_without_a_token(method: str, target: str, expected: Route) -> None:
    assert asked(method, target, ()) == expected


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("POST", "/v1/messages"),
        ("POST", "/v1/messages?beta=true"),
        ("POST", "/v1/messages/count_tokens?beta=true"),
        ("GET", "/v1/models?limit=1000"),
        ("GET", "/v1/models/claude-opus-4.8"),
        ("HEAD", "/v1/models"),
        ("DELETE", "/v1/files/file_01-a~b"),
        ("PUT", "/v1/files/x:y@z"),
        ("PATCH", "/v1/a/"),
        ("GET", "/v1/files/..."),
        ("GET", "/v1/models?after=a%20b&x=[1]&path=/../"),
        ("GET", "/v1/models?"),
    ],
)
def test_the_api_is_forwarded_with_path_and_query_as_they_are(method: str, target: str) -> None:
    assert asked(method, target) == Forward(UPSTREAM + target, VM)


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("CONNECT", "api.anthropic.com:443", 400),
        ("CONNECT", "/v1/messages", 400),
        ("GET", "http://api.anthropic.com/v1/models", 400),
        ("GET", "https://169.254.169.254/", 400),
        ("GET", "ftp://x/v1/models", 400),
        ("GET", "//evil.example/v1/models", 400),
        ("GET", "///v1/models", 400),
        ("GET", "", 400),
        ("OPTIONS", "*", 400),
        ("GET", "v1/models", 400),
        ("GET", "\\\\evil\\v1", 400),
        ("GET", "/v1/../v1/models", 400),
        ("GET", "/v1/./models", 400),
        ("GET", "/v1/..", 400),
        ("GET", "/v1/models/..", 400),
        ("GET", "/v1/models/../../admin", 400),
        ("GET", "/v1/%2e%2e/admin", 400),
        ("GET", "/v1/%2E%2E%2Fadmin", 400),
        ("GET", "/v1/..%2fadmin", 400),
        ("GET", "/v1/%252e%252e/admin", 400),
        ("GET", "/v1/..;/admin", 400),
        ("GET", "/v1/a%00b", 400),
        ("GET", "/v1//models", 400),
        ("GET", "/v1/models//", 400),
        ("GET", "/v1", 400),
        ("GET", "/v1/", 400),
        ("GET", "/v1\\..\\admin", 404),
        ("GET", "/v1/\\models", 400),
        ("GET", "/v1/models\r\nX: y", 400),
        ("GET", "/v1/models\n", 400),
        ("GET", "/v1/mod els", 400),
        ("GET", "/v1/models\t", 400),
        ("GET", "/v1/models\x7f", 400),
        ("GET", "/v1/mödels", 400),
        ("GET", "/v1/models\udc80", 400),
        ("GET", "/v1/models#/../x", 400),
        ("GET", "/v1/models?a#b", 400),
        ("GET", "/v1/models?a b", 400),
        ("GET", "/v1/models?a\\b", 400),
        ("GET", "/v1/models?a\r\nb", 400),
        ("GET", "/v1/models?ö", 400),
        ("GET", "/v1x/models", 404),
        ("GET", "/V1/models", 404),
        ("GET", "/v2/models", 404),
        ("GET", "/%761/models", 404),
        ("GET", "/../v1/models", 404),
        ("GET", "/./v1/models", 404),
        ("GET", "/health/../v1/models", 404),
        ("GET", "/healthy", 404),
        ("GET", "/.well-known/x", 404),
        ("GET", "/api/oauth/profile", 404),
        ("GET", "/;/v1/models", 404),
        ("POST", "/health", 405),
        ("HEAD", "/health", 405),
        ("POST", "/", 405),
        ("DELETE", "/", 405),
        ("POST", "/api/hello", 405),
        ("TRACE", "/v1/models", 405),
        ("OPTIONS", "/v1/models", 405),
        ("PROPFIND", "/v1/models", 405),
        ("get", "/v1/models", 405),
        ("", "/v1/models", 405),
    ],
)
def test_all_else_is_refused_even_with_a_live_token(method: str, target: str, status: int) -> None:
    refused = asked(method, target)
    assert isinstance(refused, Deny)
    assert (refused.status, refused.retry) == (status, False)


@pytest.mark.parametrize(
    ("headers", "vm"),
    [
        ((("x-api-key", "token"),), VM),
        ((("X-Api-Key", " token "),), VM),
        ((("X-API-KEY", "other"),), OTHER),
        ((("Authorization", "Bearer token"),), VM),
        ((("authorization", "bearer  token"),), VM),
        ((("x-api-key", "token"), ("Authorization", "Bearer other")), VM),
        ((("x-api-key", "token"), ("Authorization", "Bearer wrong")), VM),
    ],
)
def test_a_live_token_tells_which_vm_asks(headers: tuple[tuple[str, str], ...], vm: Tenant) -> None:
    assert asked("GET", "/v1/models", headers) == Forward(f"{UPSTREAM}/v1/models", vm)


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("x-api-key", ""),),
        (("x-api-key", "   "),),
        (("x-api-key", "toke"),),
        (("x-api-key", "tokenn"),),
        (("x-api-key", "Token"),),
        (("x-api-key", token_hash("token")),),
        (("x-api-key", "token"), ("x-api-key", "token")),
        (("x-api-key", "wrong"), ("x-api-key", "token")),
        (("x-api-key", "wrong"), ("Authorization", "Bearer token")),
        (("x-api-key", ""), ("Authorization", "Bearer token")),
        (("Authorization", "token"),),
        (("Authorization", "Bearer"),),
        (("Authorization", "Bearer "),),
        (("Authorization", "Bearer token token"),),
        (("Authorization", "Basic token"),),
        (("Authorization", "Bearer token"), ("Authorization", "Bearer token")),
        (("Proxy-Authorization", "Bearer token"),),
        (("x-api_key", "token"),),
        (("cookie", "x-api-key=token"),),
    ],
)
def test_without_a_live_token_the_answer_is_401_at_once(
    headers: tuple[tuple[str, str], ...],
) -> None:
    refused = asked("POST", "/v1/messages", headers)
    assert isinstance(refused, Deny)
    assert (refused.status, refused.kind) == (401, "authentication_error")
    assert (refused.retry, refused.tenant) == (False, None)


@pytest.mark.parametrize("value", ["a\r\nb", "a\0b", "ä", "\udc80", "\x1b[0m"])
def test_a_header_that_is_not_printable_ascii_is_refused(value: str) -> None:
    refused = asked("GET", "/v1/models", (*KEY, ("X-Any", value)))
    assert isinstance(refused, Deny)
    assert refused.status == 400


def test_nobody_passes_while_the_live_tokens_are_unknown() -> None:
    refused = route(RequestHead("GET", "/v1/models", KEY), Policy(UPSTREAM, None))
    assert isinstance(refused, Deny)
    assert (refused.status, refused.retry) == (503, True)


def test_nobody_passes_when_there_is_no_vm() -> None:
    refused = route(RequestHead("GET", "/v1/models", KEY), Policy(UPSTREAM, {}))
    assert isinstance(refused, Deny)
    assert refused.status == 401


def test_a_refused_method_still_tells_whose_it_was() -> None:
    refused = asked("TRACE", "/v1/models")
    assert isinstance(refused, Deny)
    assert refused.tenant == VM


PIECES = ["/v1", "/", "..", ".", "%2e", "\\", "//", "@", ":", "evil.example", "?", "#", "a", "\n"]


@given(st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=3)), max_size=8).map("".join))
def test_whatever_the_target_only_the_upstreams_v1_is_reached(target: str) -> None:
    decision = asked("GET", target)
    if isinstance(decision, Forward):
        assert decision.url == UPSTREAM + target
        path = target.partition("?")[0]
        assert path.startswith("/v1/")
        assert not {"..", "."} & set(path.split("/"))
        assert not set("%\\#") & set(path)
        assert decision.url.isascii()
        assert decision.url.isprintable()


TOKENS = st.text(st.characters(codec="ascii", categories=("L", "N")), max_size=10)


@given(TOKENS, st.text(), st.text())
def test_no_guessed_token_opens(value: str, name: str, more: str) -> None:
    if not {value, more.strip()} & {"token", "other"}:
        headers = (("x-api-key", value), (name, more))
        assert not isinstance(asked("POST", "/v1/messages", headers), Forward)


# Budgets


def test_a_vm_without_budget_makes_no_model_call_and_can_still_count_and_read() -> None:
    policy = Policy(UPSTREAM, POLICY.tenants, {VM.vm: "used up"})
    refused = route(RequestHead("POST", "/v1/messages?beta=true", KEY), policy)
    assert refused == Deny(403, "permission_error", "used up", tenant=VM)
    for method, target in (("POST", "/v1/messages/count_tokens"), ("GET", "/v1/models")):
        assert isinstance(route(RequestHead(method, target, KEY), policy), Forward)
    other = (("x-api-key", "other"),)
    assert isinstance(route(RequestHead("POST", "/v1/messages", other), policy), Forward)


# Other hosts


def basic(token: str, user: str = "vm") -> tuple[str, str]:
    word = base64.b64encode(f"{user}:{token}".encode()).decode()
    return ("Proxy-Authorization", f"Basic {word}")


def let_out(
    method: str, target: str, *rules_: str, headers: tuple[tuple[str, str], ...] = (basic("token"),)
) -> Route:
    tenant = replace(VM, egress=Egress(rules(rules_)))
    authority = target.removeprefix("http://").partition("/")[0].partition("?")[0]
    policy = Policy(UPSTREAM, {token_hash("token"): tenant})
    given = (("Host", authority), *headers) if "Host" not in dict(headers) else headers
    decision = route(RequestHead(method, target, given), policy)
    if isinstance(decision, Tunnel | Fetch):
        assert decision.tenant is tenant
    return decision


def test_by_default_no_host_is_reached() -> None:
    for method, target in (("CONNECT", "example.com:443"), ("GET", "http://example.com/")):
        refused = let_out(method, target)
        assert isinstance(refused, Deny)
        assert (refused.status, refused.retry) == (403, False)
        assert "not allowed for this VM" in refused.why
        assert refused.tenant is not None


@pytest.mark.parametrize(
    ("target", "rule", "host", "port"),
    [
        ("example.com:443", "example.com", "example.com", 443),
        ("example.com:80", "example.com", "example.com", 80),
        ("EXAMPLE.com.:443", "example.com", "example.com", 443),
        ("a.b.example.com:443", "*.example.com", "a.b.example.com", 443),
        ("example.com:8443", "example.com:8443", "example.com", 8443),
        ("10.1.2.3:443", "10.1.2.3", "10.1.2.3", 443),
        ("[fd00:0::1]:443", "fd00::1", "fd00::1", 443),
        ("xn--mnchen-3ya.example:443", "münchen.example", "xn--mnchen-3ya.example", 443),
    ],
)
def test_an_allowed_host_gets_a_tunnel(target: str, rule: str, host: str, port: int) -> None:
    decision = let_out("CONNECT", target, rule)
    assert isinstance(decision, Tunnel)
    assert (decision.host, decision.port) == (host, port)


@pytest.mark.parametrize(
    ("target", "port", "path"),
    [
        ("http://example.com/a?b=%2f", 80, "/a?b=%2f"),
        ("http://example.com", 80, "/"),
        ("http://example.com?q", 80, "/?q"),
        ("HTTP://example.com:80/", 80, "/"),
        ("http://example.com:443/x", 443, "/x"),
    ],
)
def test_an_allowed_host_is_asked_in_plain_http(target: str, port: int, path: str) -> None:
    headers = (("Host", "example.com"), basic("token"))
    decision = let_out("GET", target, "example.com", headers=headers)
    assert isinstance(decision, Fetch)
    assert (decision.host, decision.port, decision.target) == ("example.com", port, path)


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("Proxy-Authorization", "Basic"),),
        (("Proxy-Authorization", "Basic !!!!"),),
        (("Proxy-Authorization", "Basic dG9rZW4="),),
        (("Proxy-Authorization", "token"),),
        (("x-api-key", "token"),),
        (("Authorization", "Bearer token"),),
        (basic("wrong"),),
        (basic("", "token"),),
        (basic("token"), basic("token")),
        (basic("token:"),),
    ],
)
def test_without_its_token_in_the_proxy_url_a_vm_gets_nowhere(
    headers: tuple[tuple[str, str], ...],
) -> None:
    refused = let_out("CONNECT", "example.com:443", "example.com", headers=headers)
    assert isinstance(refused, Deny)
    assert (refused.status, refused.retry) == (407, False)


def test_a_token_as_bearer_opens_too() -> None:
    bearer = (("Proxy-Authorization", "Bearer token"),)
    assert isinstance(let_out("CONNECT", "example.com:443", "example.com", headers=bearer), Tunnel)


HOSTS = st.one_of(
    st.sampled_from(["localhost", "127.1", "0x7f.1", "[::1]", "169.254.169.254", "a.example.com"]),
    st.text(st.sampled_from("0123456789abcdefx.:[]%@/-*_\\"), max_size=24),
    st.ip_addresses().map(lambda ip: f"[{ip}]" if ip.version == 6 else str(ip)),
)
SOME = ("example.com", "*.example.com", "10.0.0.1", "93.184.216.34")


@given(HOSTS, st.sampled_from(["", ":443", ":80", ":22", ":0443", ":", ":99999"]))
def test_whatever_is_named_only_what_is_allowed_is_let_out(host: str, port: str) -> None:
    for method, target in (("CONNECT", f"{host}{port}"), ("GET", f"http://{host}{port}/x")):
        decision = let_out(method, target, *SOME)
        if isinstance(decision, Tunnel | Fetch):
            below = decision.host.endswith(".example.com")
            assert below or decision.host in {"example.com", "10.0.0.1", "93.184.216.34"}
            assert decision.port in {80, 443}
        else:
            assert isinstance(decision, Deny)
