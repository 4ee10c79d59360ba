from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tachikoma.model.names import VmName
from tachikoma.proxy.route import (
    Deny,
    Forward,
    Health,
    Hello,
    Policy,
    RequestHead,
    Route,
    route,
    token_hash,
)

UPSTREAM = "https://api.example"
VM = VmName("tachikoma-repo-main")
OTHER = VmName("tachikoma-repo-other")
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
        ("CONNECT", "api.anthropic.com:443", 405),
        ("CONNECT", "/v1/messages", 405),
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
def test_a_live_token_tells_which_vm_asks(headers: tuple[tuple[str, str], ...], vm: VmName) -> None:
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
    assert (refused.retry, refused.vm) == (False, None)


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
    assert refused.vm == VM


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


@given(st.text(), st.text(), st.text())
def test_no_guessed_token_opens(method: str, name: str, value: str) -> None:
    if value.strip() not in {"token", "other"}:
        headers = (("x-api-key", value), (name, value))
        assert not isinstance(asked(method, "/v1/messages", headers), Forward)
