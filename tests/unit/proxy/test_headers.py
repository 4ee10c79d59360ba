from __future__ import annotations

import pytest

from tachikoma.credentials.port import Credential, Kind
from tachikoma.proxy.headers import to_api, to_client, to_host

KEY = Credential(Kind.API_KEY, "real", "test")
OAUTH = Credential(Kind.OAUTH, "real", "test")
HOST = ("Host", "api.example")


def test_an_api_key_takes_the_place_of_whatever_the_client_sent() -> None:
    given = [("X-API-Key", "a"), ("x-api-key", "b"), ("AUTHORIZATION", "Bearer c"), ("Host", "p")]
    assert to_api(given, KEY, host="api.example") == [HOST, ("x-api-key", "real")]


def test_a_gateways_token_is_a_bearer_and_brings_no_beta() -> None:
    given = [("x-api-key", "a"), ("Authorization", "Bearer c"), ("anthropic-beta", "a,b")]
    assert to_api(given, Credential(Kind.BEARER, "real", "test"), host="api.example") == [
        HOST,
        ("anthropic-beta", "a,b"),
        ("Authorization", "Bearer real"),
    ]


def test_a_gateway_without_a_credential_does_not_get_the_clients_either() -> None:
    given = [("X-Api-Key", "a"), ("authorization", "Bearer c"), ("anthropic-version", "1")]
    nothing = Credential(Kind.NONE, "", "test")
    assert to_api(given, nothing, host="api.example") == [HOST, ("anthropic-version", "1")]


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
    assert to_api(given, OAUTH, host="api.example") == [
        HOST,
        ("Authorization", "Bearer real"),
        ("anthropic-beta", sent),
    ]


ON_THE_WAY = [
    ("Connection", "close, TE"),
    ("Keep-Alive", "5"),
    ("Transfer-Encoding", "chunked"),
    ("TE", "trailers"),
    ("Proxy-Authorization", "x"),
    ("Proxy-Connection", "x"),
    ("Expect", "100-continue"),
    ("Content-Length", "3"),
    ("Host", "p"),
    ("anthropic-version", "2023-06-01"),
]


def test_what_belongs_to_the_connection_stays_behind() -> None:
    kept = ("anthropic-version", "2023-06-01")
    assert to_api(ON_THE_WAY, KEY, host="api.example") == [HOST, kept, ("x-api-key", "real")]
    assert to_host(ON_THE_WAY, host="api.example") == [HOST, kept]


def test_a_host_gets_the_clients_own_credentials_and_no_others() -> None:
    given = [("Authorization", "Basic own"), ("Accept-Encoding", "br"), ("x-api-key", "own")]
    assert to_host(given, host="api.example") == [HOST, *given]


@pytest.mark.parametrize(
    ("accepted", "sent"),
    [
        (["gzip, deflate, br, zstd"], "gzip, deflate"),
        (["br", "gzip;q=0.5"], "gzip;q=0.5"),
        (["br"], "identity"),
        (["*"], "identity"),
        ([""], "identity"),
    ],
)
def test_the_api_may_use_only_codings_in_which_tokens_can_be_counted(
    accepted: list[str], sent: str
) -> None:
    given = [("Accept-Encoding", each) for each in accepted]
    assert to_api(given, KEY, host="api.example")[1] == ("Accept-Encoding", sent)


def test_an_answer_keeps_all_that_is_for_the_client() -> None:
    given = [
        ("Date", "now"),
        ("Connection", "keep-alive"),
        ("Transfer-Encoding", "chunked"),
        ("retry-after", "3"),
        ("x-should-retry", "true"),
        ("Set-Cookie", "a"),
        ("Set-Cookie", "b"),
    ]
    assert to_client(given) == [
        ("Date", "now"),
        ("retry-after", "3"),
        ("x-should-retry", "true"),
        ("Set-Cookie", "a"),
        ("Set-Cookie", "b"),
        ("Server", "tachikoma"),
    ]
    assert to_client([("Server", "their own")]) == [("Server", "their own")]
