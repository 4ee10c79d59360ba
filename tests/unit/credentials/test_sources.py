from __future__ import annotations

import os
from pathlib import Path

import pytest

from tachikoma.credentials.memory import MemoryKeychain
from tachikoma.credentials.port import Credential, Finding, Kind, Source
from tachikoma.credentials.sources import (
    CommandSource,
    EnvironmentSource,
    Surroundings,
    in_order,
)
from tachikoma.credentials.waterfall import ask
from tachikoma.host.clock import FakeClock


def command(text: str | None, **environment: str) -> CommandSource:
    environment.setdefault("PATH", os.environ["PATH"])
    return CommandSource("credential_command", Kind.OAUTH, text, environment, deadline_s=5.0)


def sources(**environment: str) -> tuple[Source, ...]:
    keychain = MemoryKeychain({("Claude Code", "alice"): "sk-ant-in-the-keychain"})
    place = Surroundings({"USER": "alice", **environment}, Path("/home/x"), None, None, keychain)
    return in_order(place, FakeClock())


def test_the_sources_stand_in_their_documented_order() -> None:
    assert [source.name for source in sources(CLAUDE_CONFIG_DIR="/etc/claude")] == [
        "memory keychain",
        "CLAUDE_CODE_OAUTH_TOKEN",
        "credential_command",
        "/etc/claude/.credentials.json",
        "ANTHROPIC_API_KEY",
        "api_key_command",
        "/etc/claude/.claude.json",
        "ANTHROPIC_AUTH_TOKEN",
        "gateway, Bedrock, Vertex",
    ]


async def test_the_keychain_of_this_user_is_asked_first() -> None:
    (found,) = await ask(sources(ANTHROPIC_API_KEY="later"))
    assert found.credential == Credential(
        Kind.API_KEY, "sk-ant-in-the-keychain", "memory keychain: Claude Code"
    )


async def test_a_gateway_with_its_own_token_gets_that_and_never_the_sign_in() -> None:
    asked = await ask(
        sources(
            ANTHROPIC_BASE_URL="https://gateway.example/v",
            ANTHROPIC_AUTH_TOKEN="of-the-gateway",
            CLAUDE_CODE_OAUTH_TOKEN="of-anthropic",
            ANTHROPIC_API_KEY="of-anthropic",
        )
    )
    assert [finding.credential for finding in asked[:-1]] == [None] * 7
    assert {each.why for each in asked[:-1]} == {
        "is not for gateway.example, which has ANTHROPIC_AUTH_TOKEN"
    }
    assert asked[-1].credential == Credential(Kind.BEARER, "of-the-gateway", "ANTHROPIC_AUTH_TOKEN")


def test_what_the_sources_look_at_shows_no_environment() -> None:
    place = Surroundings({"KEY": "hidden"}, Path("/"), None, None, MemoryKeychain())
    assert "hidden" not in repr(place)


async def test_a_variable_gives_its_value_without_white_space() -> None:
    source = EnvironmentSource("KEY", Kind.API_KEY, {"KEY": " sk-ant-1\n"})
    assert await source.look() == Finding("KEY", Credential(Kind.API_KEY, "sk-ant-1", "KEY"))


@pytest.mark.parametrize(
    ("environment", "why"),
    [
        ({}, "is not set"),
        ({"KEY": ""}, "is not set"),
        ({"KEY": " \n"}, "is not set"),
        ({"KEY": "a b"}, "what it holds is not one word of printable ASCII"),
        ({"KEY": "a\r\nX-Injected: b"}, "what it holds is not one word of printable ASCII"),
        ({"KEY": "schlüssel"}, "what it holds is not one word of printable ASCII"),
        ({"KEY": "a\udc80"}, "what it holds is not one word of printable ASCII"),
    ],
)
async def test_a_variable_that_cannot_be_a_credential_says_why(
    environment: dict[str, str], why: str
) -> None:
    assert await EnvironmentSource("KEY", Kind.API_KEY, environment).look() == Finding(
        "KEY", None, why, warning=why != "is not set"
    )


@pytest.mark.parametrize(
    ("kind", "text", "instead"),
    [
        (Kind.OAUTH, "sk-ant-api03-x", "ANTHROPIC_API_KEY or api_key_command"),
        (Kind.API_KEY, "sk-ant-oat01-x", "CLAUDE_CODE_OAUTH_TOKEN or credential_command"),
    ],
)
async def test_one_kind_given_as_the_other_is_passed_over_with_where_it_belongs(
    kind: Kind, text: str, instead: str
) -> None:
    found = await EnvironmentSource("KEY", kind, {"KEY": text}).look()
    assert (found.credential, found.warning) == (None, True)
    assert instead in found.why
    right = Kind.API_KEY if kind is Kind.OAUTH else Kind.OAUTH
    assert (await EnvironmentSource("KEY", right, {"KEY": text}).look()).credential is not None


@pytest.mark.live
async def test_a_command_runs_in_a_shell_with_the_users_environment() -> None:
    found = await command('printf "%s-%s\\n" "$A" "$LANG"', A="tok", LANG="de_DE").look()
    assert found.credential == Credential(Kind.OAUTH, "tok-de_DE", "credential_command")


@pytest.mark.live
@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "is not configured"),
        ("", "is not configured"),
        ("true", "the command printed nothing"),
        ("echo", "the command printed nothing"),
        ("echo a; echo b", "what it holds is not one word of printable ASCII"),
        ("echo 'hidden'; exit 3", "ended with status 3"),
        (
            "echo hidden; echo x >&2; echo not signed in >&2; false",
            "ended with status 1: not signed in",
        ),
        (
            "echo 'bad sk-ant-api03-hidden' >&2; exit 1",
            "ended with status 1: bad sk-ant-api0[redacted]",
        ),
        ("set -x; echo hidden-one; false", "ended with status 1: + false"),
        ("echo hidden-one; echo got hidden-one >&2; false", "ended with status 1: got [redacted]"),
        ("kill -9 $$", "ended with status -9"),
        ("no-such-program-anywhere 2>/dev/null", "ended with status 127"),
        ("cat", "the command printed nothing"),
    ],
)
async def test_a_command_without_a_credential_says_why_and_shows_no_output(
    text: str | None, why: str
) -> None:
    assert await command(text).look() == Finding(
        "credential_command", None, why, warning=why != "is not configured"
    )


@pytest.mark.live
async def test_a_command_that_hangs_is_ended() -> None:
    source = CommandSource("c", Kind.API_KEY, "sleep 60", {"PATH": os.environ["PATH"]}, 0.1)
    assert await source.look() == Finding("c", None, "took longer than 0.1 s", warning=True)


def test_no_source_shows_the_environment() -> None:
    assert "hidden" not in repr(EnvironmentSource("KEY", Kind.API_KEY, {"KEY": "hidden"}))
    assert "hidden" not in repr(command("true", KEY="hidden"))
