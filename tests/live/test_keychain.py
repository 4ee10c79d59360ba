"""A real Secret Service, in a session of its own, as the source of the proxy's credential."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import shutil
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from tachikoma.credentials.os_keychain import OsKeychain
from tachikoma.host import process
from tachikoma.host.clock import SystemClock, attempts
from tachikoma.model.errors import KeychainError
from tachikoma.model.events import silent
from tachikoma.proxy.control import ProxyControl
from tachikoma.proxy.plan import Plan
from tachikoma.state.json_file import JsonFileStore
from tests.doubles.secret_service import PROGRAMS, SecretService, secret_service
from tests.live.test_proxy import TOKEN, plan, record

__all__ = ["plan"]
pytestmark = [pytest.mark.live, pytest.mark.timeout(60)]

SIGN_IN, API_KEY = "Claude Code-credentials", "Claude Code"
OAUTH = "sk-ant-oat01-kept-in-the-keychain"


@pytest.fixture
def service(tmp_path: Path, real_environ: dict[str, str]) -> Iterator[SecretService]:
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing and real_environ.get("CI") != "true":
        pytest.skip(f"not installed: {', '.join(missing)}")
    with secret_service(tmp_path / "desktop") as running:
        yield running


def sign_in(token: str, *, expires_in_s: float = 3600) -> bytes:
    expires = (time.time() + expires_in_s) * 1000
    login = {"accessToken": token, "refreshToken": "r", "expiresAt": expires}
    return json.dumps({"claudeAiOauth": login}).encode()


def keychain(service: SecretService) -> OsKeychain:
    return OsKeychain(environment=service.environ, platform="linux")


async def test_both_items_are_read_and_only_those_of_the_account(service: SecretService) -> None:
    assert await keychain(service).read([SIGN_IN, API_KEY], "alice") == {}
    service.put(SIGN_IN, "alice", b"{}")
    service.put(API_KEY, "alice", "sk-ant-ü".encode())
    service.put(API_KEY, "bob", b"of-bob")
    found = await keychain(service).read([SIGN_IN, API_KEY], "alice")
    assert found == {SIGN_IN: "{}", API_KEY: "sk-ant-ü"}


async def test_a_locked_one_is_told_at_once_and_nobody_is_asked(service: SecretService) -> None:
    service.put(API_KEY, "alice", b"sk-ant-1")
    service.lock()
    with pytest.raises(KeychainError, match="is locked"):
        await keychain(service).read([API_KEY], "alice")


async def test_one_that_never_answers_is_given_up_and_its_reader_ended(own_home: Path) -> None:
    path = own_home.parent / "run" / "bus"
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(path))
        mute.listen()
        environment = {"XDG_RUNTIME_DIR": str(path.parent), "HOME": str(own_home)}
        asked = OsKeychain(environment=environment, platform="linux", deadline_s=1.0)
        with pytest.raises(KeychainError, match="did not answer within 1 s"):
            await asked.read([API_KEY], "alice")
    readers = [each for each in Path("/proc").iterdir() if is_reader_of(each, path.parent)]
    assert readers == []


def is_reader_of(entry: Path, runtime: Path) -> bool:
    with contextlib.suppress(OSError):
        return os.fsencode(runtime) in (entry / "environ").read_bytes() and (
            b"keychain_reader" in (entry / "cmdline").read_bytes()
        )
    return False


async def test_the_command_shows_the_item_that_is_used_and_not_what_it_holds(
    service: SecretService,
) -> None:
    service.put(SIGN_IN, "alice", sign_in(OAUTH))
    argv = [sys.executable, "-m", "tachikoma", "credentials", "--json"]
    env = {**service.environ, "USER": "alice", "XDG_CONFIG_HOME": service.environ["HOME"]}
    shown = await process.run(argv, deadline_s=20, env=env)
    used = json.loads(shown.stdout)["data"]["credential"]
    assert (used["kind"], used["source"]) == ("oauth", f"Secret Service: {SIGN_IN}")
    assert used["expires"] > time.time()
    assert OAUTH.encode() not in shown.stdout + shown.stderr
    service.lock()
    locked = await process.run(argv, deadline_s=20, env=env, check=False)
    first = json.loads(locked.stdout)["data"]["sources"][0]
    assert (locked.status, first["state"], first["why"]) == (1, "failing", "is locked")


@pytest.fixture
async def seen() -> AsyncIterator[tuple[str, list[dict[str, str]]]]:
    """An API that says ok: its address, and the headers of what came."""
    heads: list[dict[str, str]] = []

    async def api(request: web.BaseRequest) -> web.StreamResponse:
        heads.append({name.lower(): value for name, value in request.headers.items()})
        return web.Response(text="ok")

    server = web.Server(api, access_log=None)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}", heads
    listener.close()
    await server.shutdown(0.1)


async def test_the_detached_proxy_takes_the_sign_in_and_then_what_claude_writes_anew(
    plan: Plan, service: SecretService, seen: tuple[str, list[dict[str, str]]], own_home: Path
) -> None:
    base, heads = seen
    service.put(SIGN_IN, "alice", sign_in(OAUTH))
    environment = {**plan.environment, "USER": "alice", "ANTHROPIC_BASE_URL": base}
    environment["DBUS_SESSION_BUS_ADDRESS"] = service.environ["DBUS_SESSION_BUS_ADDRESS"]
    del environment["ANTHROPIC_API_KEY"]
    here = dataclasses.replace(plan, environment=environment, ttl_s=1)
    state = JsonFileStore(file=plan.paths.state_file, locks=plan.paths.locks, clock=SystemClock())
    with state.edit() as ledger:
        ledger.put(record(own_home))
    control = ProxyControl(plan=here, clock=SystemClock())
    await control.ensure(silent)
    try:
        async with aiohttp.ClientSession() as client:
            await ask(client, here)
            assert heads[-1]["authorization"] == f"Bearer {OAUTH}"
            assert heads[-1]["anthropic-beta"] == "of-the-client,oauth-2025-04-20"
            assert "x-api-key" not in heads[-1]
            service.put(SIGN_IN, "alice", b"{}")  # signed out there; signed in by file
            file = own_home / ".claude" / ".credentials.json"
            file.parent.mkdir()
            file.write_bytes(sign_in("sk-ant-oat01-first"))
            async for _ in attempts(SystemClock(), deadline_s=10):
                await ask(client, here)
                if heads[-1]["authorization"] != f"Bearer {OAUTH}":
                    break
            assert heads[-1]["authorization"] == "Bearer sk-ant-oat01-first"
            file.write_bytes(sign_in("sk-ant-oat01-second"))
            await ask(client, here)
            assert heads[-1]["authorization"] == "Bearer sk-ant-oat01-second"
        log = here.log_file.read_text()
    finally:
        assert await control.stop()
    assert f"Secret Service: {SIGN_IN} (oauth) is in use" in log
    files = [each for each in (own_home / ".config").rglob("*") if each.is_file()]
    assert not any(b"sk-ant-oat01" in each.read_bytes() for each in files)


async def ask(client: aiohttp.ClientSession, plan: Plan) -> None:
    headers = {"x-api-key": TOKEN, "anthropic-beta": "of-the-client"}
    async with client.get(f"http://{plan.endpoint}/v1/models", headers=headers) as answer:
        assert (answer.status, await answer.text()) == (200, "ok")
