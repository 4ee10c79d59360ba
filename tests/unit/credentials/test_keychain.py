from __future__ import annotations

import hashlib
import json

import pytest

from tachikoma.credentials.keychain import KeychainSource, Services, services
from tachikoma.credentials.memory import MemoryKeychain
from tachikoma.credentials.port import Credential, Finding, Kind
from tachikoma.credentials.sign_in import EXPIRED, MISSHAPEN
from tachikoma.host.clock import FakeClock
from tachikoma.model.errors import KeychainError

NAMES = services({})
CHAIN = "memory keychain"


def source(
    clock: FakeClock, *, sign_in: object = None, api_key: str | None = None
) -> tuple[KeychainSource, MemoryKeychain]:
    items = {}
    if sign_in is not None:
        items[NAMES.sign_in, "alice"] = json.dumps({"claudeAiOauth": sign_in})
    if api_key is not None:
        items[NAMES.api_key, "alice"] = api_key
    keychain = MemoryKeychain(items)
    made = KeychainSource(keychain=keychain, services=NAMES, account="alice", clock=clock)
    return made, keychain


def test_the_items_are_called_as_claude_code_calls_them() -> None:
    assert services({"CLAUDE_CONFIG_DIR": ""}) == Services("Claude Code-credentials", "Claude Code")
    suffix = hashlib.sha256("/é".encode()).hexdigest()[:8]
    there = Services(f"Claude Code-credentials-{suffix}", f"Claude Code-{suffix}")
    assert services({"CLAUDE_CONFIG_DIR": "/é"}) == there
    assert services({"CLAUDE_CONFIG_DIR": "/e\u0301"}) == there


async def test_the_sign_in_comes_before_the_api_key_and_its_expiry_is_known() -> None:
    clock = FakeClock()
    login = {"accessToken": "tok", "expiresAt": (clock.now() + 60) * 1000}
    made, _ = source(clock, sign_in=login, api_key="sk-ant-api")
    assert (await made.look()).credential == Credential(
        Kind.OAUTH, "tok", f"{CHAIN}: Claude Code-credentials", clock.now() + 60
    )


@pytest.mark.parametrize("sign_in", [None, {"accessToken": "t", "expiresAt": 0}, {}, "x"])
async def test_the_api_key_is_taken_where_there_is_no_token_that_works(sign_in: object) -> None:
    made, _ = source(FakeClock(), sign_in=sign_in, api_key="sk-ant-api\n")
    assert (await made.look()).credential == Credential(
        Kind.API_KEY, "sk-ant-api", f"{CHAIN}: Claude Code"
    )


@pytest.mark.parametrize(
    ("sign_in", "api_key", "why", "warning"),
    [
        (None, None, "holds no sign-in of Claude Code for alice", False),
        ("x", None, "holds no sign-in of Claude Code for alice", False),
        ({"accessToken": "t", "expiresAt": 0}, None, f"Claude Code-credentials: {EXPIRED}", True),
        (
            {},
            "hid den",
            f"Claude Code-credentials: holds no access token; Claude Code: {MISSHAPEN}",
            True,
        ),
    ],
)
async def test_without_a_usable_item_it_says_why(
    sign_in: object, api_key: str | None, why: str, warning: bool
) -> None:
    made, _ = source(FakeClock(), sign_in=sign_in, api_key=api_key)
    assert await made.look() == Finding(CHAIN, None, why, warning)


async def test_a_keychain_that_refused_is_left_alone_for_a_while() -> None:
    clock = FakeClock()
    made, keychain = source(clock, api_key="sk-ant-api")
    keychain.failure = KeychainError("is locked", hint="unlock it")
    for _ in range(5):
        assert await made.look() == Finding(CHAIN, None, "is locked", warning=True)
    assert keychain.reads == 1
    keychain.failure = None
    await clock.sleep(30)
    assert (await made.look()).credential is not None


async def test_a_host_without_a_keychain_is_no_reason_to_warn() -> None:
    made, keychain = source(FakeClock())
    keychain.failure = KeychainError("no desktop session (D-Bus) here")
    assert not (await made.look()).warning
