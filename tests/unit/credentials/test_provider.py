from __future__ import annotations

import pytest

from tachikoma.credentials.memory import MemorySource
from tachikoma.credentials.port import Credential, Kind
from tachikoma.credentials.provider import (
    PassedOver,
    ProviderSource,
    for_gateway,
    gateway,
    remote_gateway,
)

GATEWAY = {"ANTHROPIC_BASE_URL": "https://gateway.example:8443/team"}


@pytest.mark.parametrize(
    ("given", "host"),
    [
        ("", None),
        ("https://api.anthropic.com", None),
        ("https://API.Anthropic.com/", None),
        ("https://anthropic.com.evil.example", "anthropic.com.evil.example"),
        ("https://notanthropic.com", "notanthropic.com"),
        (" http://127.0.0.1:8080 ", "127.0.0.1"),
        ("https://[::1", None),
        ("nonsense", None),
    ],
)
def test_a_gateway_is_any_host_but_anthropics(given: str, host: str | None) -> None:
    assert gateway({"ANTHROPIC_BASE_URL": given}) == host


@pytest.mark.parametrize("here", ["http://127.0.0.2:1", "http://localhost", "http://[::1]:80"])
def test_a_gateway_on_this_machine_is_not_remote(here: str) -> None:
    assert remote_gateway({"ANTHROPIC_BASE_URL": here}) is None
    assert remote_gateway(GATEWAY) == "gateway.example"
    assert remote_gateway({}) is None


@pytest.mark.parametrize(
    "environment",
    [{}, GATEWAY, {**GATEWAY, "ANTHROPIC_AUTH_TOKEN": " "}, {"ANTHROPIC_AUTH_TOKEN": "t"}],
)
def test_sources_are_asked_unless_a_gateway_has_its_own_token(environment: dict[str, str]) -> None:
    sources = (MemorySource("a"),)
    assert for_gateway(environment, sources) == sources


async def test_with_one_they_are_passed_over_with_the_reason() -> None:
    source = MemorySource("a", Credential(Kind.OAUTH, "secret", "a"))
    (passed,) = for_gateway({**GATEWAY, "ANTHROPIC_AUTH_TOKEN": "t"}, (source,))
    assert passed == PassedOver("a", "is not for gateway.example, which has ANTHROPIC_AUTH_TOKEN")
    assert (await passed.look()).credential is None
    assert source.looks == 0


async def test_a_gateway_may_do_without_a_credential() -> None:
    found = await ProviderSource(GATEWAY).look()
    assert found.credential == Credential(Kind.NONE, "", "ANTHROPIC_BASE_URL")


@pytest.mark.parametrize(
    ("switch", "provider"),
    [
        ("CLAUDE_CODE_USE_BEDROCK", "Amazon Bedrock"),
        ("CLAUDE_CODE_USE_VERTEX", "Google Vertex AI"),
        ("CLAUDE_CODE_USE_FOUNDRY", "Microsoft Foundry"),
    ],
)
async def test_a_cloud_that_cannot_be_served_is_named_with_what_to_do(
    switch: str, provider: str
) -> None:
    found = await ProviderSource({switch: "1", "AWS_SECRET_ACCESS_KEY": "hidden"}).look()
    assert (found.credential, found.provider, found.warning) == (None, provider, True)
    assert found.why.startswith(f"{switch} is set, and the proxy does not speak {provider}")
    assert "ANTHROPIC_BASE_URL" in found.why
    assert (await ProviderSource({switch: "0"}).look()).why == "none is set up"


def test_it_does_not_show_the_environment() -> None:
    assert "hidden" not in repr(ProviderSource({"AWS_SECRET_ACCESS_KEY": "hidden"}))
