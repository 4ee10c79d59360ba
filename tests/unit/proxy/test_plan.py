from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tachikoma.host.paths import paths_from
from tachikoma.model.errors import ProxyError
from tachikoma.model.vm import Endpoint
from tachikoma.proxy.plan import Plan, decode, encode


def plan_with(**environment: str) -> Plan:
    return Plan(
        endpoint=Endpoint("127.0.0.1", 19280),
        paths=paths_from({"HOME": "/home/o'brien \udc80"}),
        environment=environment,
        ttl_s=300.0,
        credential_command="pass show 'a b'",
    )


def test_a_plan_goes_through_the_socket_unchanged() -> None:
    plan = plan_with(PATH="/bin", ODD="ü \udcff\n")
    assert decode(encode(plan)) == plan


@pytest.mark.parametrize("cut", [0, 1, 50, -1])
def test_a_plan_that_was_cut_short_is_refused(cut: int) -> None:
    with pytest.raises(ProxyError):
        decode(encode(plan_with(SECRET="s3cret"))[:cut])


def test_the_repr_of_a_plan_shows_no_environment() -> None:
    assert "s3cret" not in repr(plan_with(ANTHROPIC_API_KEY="s3cret"))


@pytest.mark.parametrize(
    ("given", "upstream"),
    [
        (None, "https://api.anthropic.com"),
        ("", "https://api.anthropic.com"),
        ("https://gateway.example/team/a/", "https://gateway.example/team/a"),
        (" http://127.0.0.1:8080 ", "http://127.0.0.1:8080"),
        ("http://[::1]:19280", "http://[::1]:19280"),
    ],
)
def test_the_upstream_is_the_api_or_what_the_host_says(given: str | None, upstream: str) -> None:
    environment = {} if given is None else {"ANTHROPIC_BASE_URL": given}
    assert plan_with(**environment).upstream == upstream


@pytest.mark.parametrize(
    "given",
    [
        "api.anthropic.com",
        "ftp://api.example",
        "https://",
        "https://user:secret@api.example",
        "https://api.example?key=1",
        "https://api.example/#x",
        "https://api.example:port",
        "https://[::1",
        "https://a.example/\nX: y",
        "http://127.0.0.1:19280",
        "http://localhost:19280/v1",
    ],
)
def test_an_upstream_that_cannot_be_meant_is_refused(given: str) -> None:
    with pytest.raises(ProxyError, match="ANTHROPIC_BASE_URL") as caught:
        plan_with(ANTHROPIC_BASE_URL=given).check()
    assert "secret" not in caught.value.message


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "localhost", "", "256.1.1.1", "eth0"])
def test_an_address_that_is_none_or_all_is_refused(host: str) -> None:
    with pytest.raises(ProxyError):
        dataclasses.replace(plan_with(), endpoint=Endpoint(host, 1)).check()


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_all_addresses_are_taken_when_the_user_says_so(host: str) -> None:
    dataclasses.replace(plan_with(), endpoint=Endpoint(host, 1), any_address=True).check()


def test_each_configuration_directory_is_another_instance() -> None:
    here = plan_with()
    there = dataclasses.replace(here, paths=dataclasses.replace(here.paths, config=Path("/x")))
    assert len(here.instance) == 8
    assert here.instance != there.instance
