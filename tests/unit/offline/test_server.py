from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tachikoma.model.errors import HostError
from tachikoma.offline.script import RunsCommands
from tachikoma.offline.server import OfflineApi, Seen

pytestmark = pytest.mark.live

_KEY = {"x-api-key": "k", "anthropic-version": "2023-06-01"}
_BODY = {
    "model": "m",
    "tools": [{"name": "Bash"}],
    "messages": [{"role": "user", "content": "run: true"}],
}


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
        yield session


def _api(**more: Any) -> OfflineApi:
    return OfflineApi(scripts=(RunsCommands(),), **more)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


async def test_a_streaming_request_is_answered_with_events(client: aiohttp.ClientSession) -> None:
    async with _api() as api:
        url = f"{api.url}/v1/messages?beta=true"
        async with client.post(url, json=_BODY | {"stream": True}, headers=_KEY) as response:
            assert response.status == 200
            assert response.content_type == "text/event-stream"
            assert response.headers["request-id"] == "req_offline_000001"
            text = await response.text()
    assert text.startswith("event: message_start\n")
    assert text.endswith('event: message_stop\ndata: {"type": "message_stop"}\n\n')


async def test_a_request_that_does_not_stream_is_answered_with_one_message(
    client: aiohttp.ClientSession,
) -> None:
    async with (
        _api() as api,
        client.post(f"{api.url}/v1/messages", json=_BODY, headers=_KEY) as response,
    ):
        message = await response.json()
    assert message["stop_reason"] == "tool_use"
    assert message["content"][1]["input"]["command"] == "true"


async def test_tokens_are_counted(client: aiohttp.ClientSession) -> None:
    async with (
        _api() as api,
        client.post(f"{api.url}/v1/messages/count_tokens", json=_BODY, headers=_KEY) as response,
    ):
        assert response.status == 200
        assert (await response.json())["input_tokens"] > 10


async def test_a_look_whether_somebody_is_there_needs_no_credential(
    client: aiohttp.ClientSession,
) -> None:
    async with _api() as api, client.head(f"{api.url}/") as response:
        assert response.status == 200


@pytest.mark.parametrize(
    ("headers", "status", "why"),
    [
        ({}, 401, "x-api-key header is required"),
        ({"x-api-key": "other"}, 401, "invalid x-api-key"),
        ({"authorization": "Bearer other"}, 401, "Invalid bearer token"),
        ({"x-api-key": "right"}, 400, "anthropic-version: header is required"),
    ],
)
async def test_what_the_real_api_would_refuse_is_refused(
    client: aiohttp.ClientSession, headers: dict[str, str], status: int, why: str
) -> None:
    async with (
        _api(secret_sha256=_digest("right")) as api,
        client.post(f"{api.url}/v1/messages", json=_BODY, headers=headers) as response,
    ):
        assert response.status == status
        assert (await response.json())["error"]["message"] == why


@pytest.mark.parametrize(("beta", "status"), [("", 401), ("a,oauth-2025-04-20", 200)])
async def test_an_oauth_token_needs_its_beta(
    client: aiohttp.ClientSession, beta: str, status: int
) -> None:
    headers = {
        "authorization": "Bearer sk-ant-oat01-abc",
        "anthropic-version": "2023-06-01",
        "anthropic-beta": beta,
    }
    async with (
        _api(secret_sha256=_digest("sk-ant-oat01-abc")) as api,
        client.post(f"{api.url}/v1/messages", json=_BODY, headers=headers) as response,
    ):
        assert response.status == status


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/v1/messages", b"", 405),
        ("POST", "/v1/other", b"{}", 404),
        ("POST", "/v1/messages", b"{", 400),
        ("POST", "/v1/messages", b"\xff\xfe", 400),
        ("POST", "/v1/messages", b" " * (33 << 20), 413),
    ],
)
async def test_nonsense_gets_an_error_in_the_form_of_the_api(
    client: aiohttp.ClientSession, method: str, path: str, body: bytes, status: int
) -> None:
    async with (
        _api() as api,
        client.request(method, api.url + path, data=io.BytesIO(body), headers=_KEY) as response,
    ):
        assert response.status == status
        assert (await response.json())["type"] == "error"


async def test_every_request_is_recorded_without_its_secret(
    client: aiohttp.ClientSession,
) -> None:
    heard: list[Seen] = []
    async with _api(on_request=heard.append) as api:
        given = {**_KEY, "authorization": "Bearer z", "anthropic-beta": "a, b"}
        async with client.post(f"{api.url}/v1/messages?beta=true", json=_BODY, headers=given):
            pass
        async with client.post(f"{api.url}/v1/messages", json=_BODY):
            pass
        assert api.requests == (
            Seen(
                *("POST", "/v1/messages", 200, "x-api-key", _digest("k"), "m", 1, ("Bash",)),
                credential_headers=("x-api-key", "authorization"),
                betas=("a", "b"),
            ),
            Seen("POST", "/v1/messages", 401, "", ""),
        )
    assert tuple(heard) == api.requests


async def test_a_client_that_leaves_in_the_middle_does_no_harm(
    client: aiohttp.ClientSession,
) -> None:
    long = {"role": "user", "content": "run: " + "x" * 500_000}
    async with _api() as api:
        body = _BODY | {"stream": True, "messages": [long]}
        async with client.post(f"{api.url}/v1/messages", json=body, headers=_KEY) as response:
            await response.content.read(10)
            response.close()
        async with client.head(f"{api.url}/") as response:
            assert response.status == 200


async def test_a_start_on_a_taken_port_fails_clearly_and_leaves_the_other_running(
    client: aiohttp.ClientSession,
) -> None:
    async with _api() as api:
        with pytest.raises(HostError) as failure:
            async with _api(port=api.endpoint.port):
                pass
        assert str(api.endpoint) in failure.value.message
        async with client.head(f"{api.url}/") as response:
            assert response.status == 200


async def test_after_a_stop_nobody_listens() -> None:
    async with _api() as api:
        endpoint = api.endpoint
    with pytest.raises(ConnectionRefusedError):
        async with asyncio.timeout(5):
            await asyncio.open_connection(endpoint.host, endpoint.port)
