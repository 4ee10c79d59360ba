from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from tachikoma.credentials.port import Credential, Kind
from tachikoma.model.errors import ProxyError
from tachikoma.proxy.upstream import (
    egress_proxy,
    request_headers,
    response_headers,
    tls_context,
)

KEY = Credential(Kind.API_KEY, "real", "test")
OAUTH = Credential(Kind.OAUTH, "real", "test")


def test_an_api_key_takes_the_place_of_whatever_the_client_sent() -> None:
    given = [("X-API-Key", "a"), ("x-api-key", "b"), ("AUTHORIZATION", "Bearer c"), ("Host", "p")]
    assert list(request_headers(given, KEY).items()) == [("x-api-key", "real")]


def test_a_gateways_token_is_a_bearer_and_brings_no_beta() -> None:
    given = [("x-api-key", "a"), ("Authorization", "Bearer c"), ("anthropic-beta", "a,b")]
    bearer = Credential(Kind.BEARER, "real", "test")
    assert list(request_headers(given, bearer).items()) == [
        ("anthropic-beta", "a,b"),
        ("Authorization", "Bearer real"),
    ]


def test_a_gateway_without_a_credential_does_not_get_the_clients_either() -> None:
    given = [("X-Api-Key", "a"), ("authorization", "Bearer c"), ("anthropic-version", "1")]
    nothing = Credential(Kind.NONE, "", "test")
    assert list(request_headers(given, nothing).items()) == [("anthropic-version", "1")]


@pytest.mark.parametrize(
    ("betas", "sent"),
    [
        ([], "oauth-2025-04-20"),
        (["a,b"], "a,b,oauth-2025-04-20"),
        (["a", "b"], "a,b,oauth-2025-04-20"),
        (["a, oauth-2025-04-20 ,b"], "a,b,oauth-2025-04-20"),
        (["", " , "], "oauth-2025-04-20"),
    ],
)
def test_an_oauth_token_brings_its_beta_exactly_once(betas: list[str], sent: str) -> None:
    given = [("x-api-key", "a"), *(("Anthropic-Beta", beta) for beta in betas)]
    headers = request_headers(given, OAUTH)
    assert headers.getall("anthropic-beta") == [sent]
    assert headers.getall("authorization") == ["Bearer real"]
    assert "x-api-key" not in headers


def test_what_belongs_to_the_connection_stays_behind() -> None:
    given = [
        ("Connection", "close, X-Mine , TE"),
        ("X-Mine", "1"),
        ("Keep-Alive", "5"),
        ("Transfer-Encoding", "chunked"),
        ("TE", "trailers"),
        ("Trailer", "X"),
        ("Upgrade", "h2c"),
        ("Proxy-Authorization", "x"),
        ("Proxy-Connection", "x"),
        ("Expect", "100-continue"),
        ("Content-Length", "3"),
        ("anthropic-version", "2023-06-01"),
    ]
    assert list(request_headers(given, KEY).items()) == [
        ("Content-Length", "3"),
        ("anthropic-version", "2023-06-01"),
        ("x-api-key", "real"),
    ]


def test_an_answer_keeps_all_that_is_for_the_client() -> None:
    given = [
        ("Date", "now"),
        ("Connection", "keep-alive"),
        ("Transfer-Encoding", "chunked"),
        ("retry-after", "3"),
        ("x-should-retry", "true"),
        ("Set-Cookie", "a"),
        ("Set-Cookie", "b"),
        ("Odd", "\udc80"),
    ]
    assert list(response_headers(given).items()) == [
        ("Date", "now"),
        ("retry-after", "3"),
        ("x-should-retry", "true"),
        ("Set-Cookie", "a"),
        ("Set-Cookie", "b"),
        ("Odd", "?"),
        ("Server", "tachikoma"),
    ]


API = "https://api.anthropic.com"


@pytest.mark.parametrize(
    ("environment", "upstream", "proxy"),
    [
        ({}, API, None),
        ({"HTTPS_PROXY": "http://p:1"}, API, "http://p:1"),
        ({"https_proxy": "http://p:1"}, API, "http://p:1"),
        ({"https_proxy": "http://low:1", "HTTPS_PROXY": "http://up:1"}, API, "http://low:1"),
        ({"ALL_PROXY": "http://p:1"}, API, "http://p:1"),
        ({"HTTP_PROXY": "http://p:1"}, API, None),
        ({"HTTPS_PROXY": ""}, API, None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "anthropic.com"}, API, None),
        ({"HTTPS_PROXY": "http://p:1", "no_proxy": "*"}, API, None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "example.com"}, API, "http://p:1"),
        ({"HTTP_PROXY": "http://p:1"}, "http://gateway.example", "http://p:1"),
        ({"HTTP_PROXY": "http://p:1"}, "http://127.0.0.1:8080", None),
        ({"HTTP_PROXY": "http://p:1"}, "http://localhost:8080/x", None),
        ({"HTTP_PROXY": "http://p:1"}, "http://[::1]:8080", None),
    ],
)
def test_the_hosts_own_proxy_is_used_as_its_environment_says(
    environment: dict[str, str], upstream: str, proxy: str | None
) -> None:
    assert egress_proxy(environment, upstream) == proxy


def test_the_certificate_of_the_api_is_verified() -> None:
    context = tls_context({})
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"])
def test_certificates_that_cannot_be_loaded_are_said(name: str, tmp_path: Path) -> None:
    bad = tmp_path / "ca.pem"
    for each in (tmp_path / "missing.pem", bad):
        bad.write_text("no certificate")
        with pytest.raises(ProxyError, match="cannot be loaded") as caught:
            tls_context({name: str(each)})
        assert name in caught.value.hint
