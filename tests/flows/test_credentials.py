"""What each kind of credential looks like to the API, and its absence to Claude Code."""

from __future__ import annotations

import json

import pytest

from tachikoma.credentials.port import Credential, Kind
from tests.flows.conftest import TOKEN, World

pytestmark = pytest.mark.live

CLIENTS = (
    {"x-api-key": TOKEN},
    {"Authorization": f"Bearer {TOKEN}"},
    {"x-api-key": TOKEN, "Authorization": "Bearer sk-ant-oat01-of-the-client"},
)
BETAS = "claude-code-20250219,interleaved-thinking-2025-05-14"


@pytest.mark.parametrize("client", CLIENTS, ids=["key", "bearer", "both"])
@pytest.mark.parametrize(
    ("kind", "sent"),
    [
        (Kind.API_KEY, {"x-api-key": "real", "anthropic-beta": BETAS}),
        (
            Kind.OAUTH,
            {"authorization": "Bearer real", "anthropic-beta": f"{BETAS},oauth-2025-04-20"},
        ),
        (Kind.BEARER, {"authorization": "Bearer real", "anthropic-beta": BETAS}),
        (Kind.NONE, {"anthropic-beta": BETAS}),
    ],
)
async def test_the_api_sees_the_hosts_credential_and_nothing_of_the_clients(
    world: World, client: dict[str, str], kind: Kind, sent: dict[str, str]
) -> None:
    secret = "" if kind is Kind.NONE else "real"
    world.source.credential = Credential(kind, secret, "test")
    async with world.messages(headers={**client, "anthropic-beta": BETAS}) as answer:
        assert answer.status == 200
    ((_, _, headers),) = world.api.heads
    seen = {name.lower(): value for name, value in headers.items()}
    about = {"x-api-key", "authorization", "anthropic-beta"}
    assert {name: seen[name] for name in about & seen.keys()} == sent


async def test_a_user_of_bedrock_is_told_so_in_the_vm_and_at_once(world: World) -> None:
    world.source.credential, world.source.provider = None, "Amazon Bedrock"
    async with world.messages() as answer:
        body = json.loads(await answer.read())
        assert (answer.status, answer.headers["x-should-retry"]) == (503, "false")
    assert body["error"]["message"] == (
        "tachikoma proxy: this host is set up for Amazon Bedrock, which the credential proxy does "
        "not speak; `tachikoma credentials` on the host tells more"
    )
    assert world.api.heads == []
