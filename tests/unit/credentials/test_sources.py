from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tachikoma.credentials.port import Credential, Finding, Kind
from tachikoma.credentials.sources import (
    ClaudeFileSource,
    CommandSource,
    EnvironmentSource,
    credentials_file,
    in_order,
)
from tachikoma.host.clock import FakeClock

NOW = 1_700_000_000.0


def command(text: str | None, **environment: str) -> CommandSource:
    environment.setdefault("PATH", os.environ["PATH"])
    return CommandSource("credential_command", Kind.OAUTH, text, environment, deadline_s=5.0)


def signed_in(file: Path, **login: object) -> ClaudeFileSource:
    file.write_text(json.dumps({"claudeAiOauth": login, "mcpOAuth": {"accessToken": "no"}}))
    return ClaudeFileSource(file, FakeClock(NOW))


def test_the_sources_stand_in_their_documented_order() -> None:
    sources = in_order(
        environment={"CLAUDE_CONFIG_DIR": "/etc/claude"},
        home=Path("/home/x"),
        credential_command=None,
        api_key_command=None,
        clock=FakeClock(),
    )
    assert [source.name for source in sources] == [
        "CLAUDE_CODE_OAUTH_TOKEN",
        "credential_command",
        "/etc/claude/.credentials.json",
        "ANTHROPIC_API_KEY",
        "api_key_command",
    ]


def test_the_sign_in_is_in_the_home_unless_claude_is_told_otherwise() -> None:
    home = Path("/home/x")
    assert credentials_file({}, home) == Path("/home/x/.claude/.credentials.json")
    assert credentials_file({"CLAUDE_CONFIG_DIR": ""}, home) == credentials_file({}, home)


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
        "KEY", None, why
    )


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
        ("kill -9 $$", "ended with status -9"),
        ("no-such-program-anywhere 2>/dev/null", "ended with status 127"),
        ("cat", "the command printed nothing"),
    ],
)
async def test_a_command_without_a_credential_says_why_and_shows_no_output(
    text: str | None, why: str
) -> None:
    assert await command(text).look() == Finding("credential_command", None, why)


@pytest.mark.live
async def test_a_command_that_hangs_is_ended() -> None:
    source = CommandSource("c", Kind.API_KEY, "sleep 60", {"PATH": os.environ["PATH"]}, 0.1)
    assert await source.look() == Finding("c", None, "took longer than 0.1 s")


def test_no_source_shows_the_environment() -> None:
    assert "hidden" not in repr(EnvironmentSource("KEY", Kind.API_KEY, {"KEY": "hidden"}))
    assert "hidden" not in repr(command("true", KEY="hidden"))


async def test_the_sign_in_of_claude_gives_its_access_token_and_expiry(tmp_path: Path) -> None:
    file = tmp_path / "c.json"
    source = signed_in(file, accessToken="tok", refreshToken="no", expiresAt=(NOW + 1) * 1000)
    assert (await source.look()).credential == Credential(Kind.OAUTH, "tok", str(file), NOW + 1)


async def test_a_sign_in_without_expiry_is_taken(tmp_path: Path) -> None:
    found = await signed_in(tmp_path / "c.json", accessToken="tok").look()
    assert found.credential is not None
    assert found.credential.expires is None


@pytest.mark.parametrize("expires", [0, 1, NOW * 1000])
async def test_an_expired_sign_in_says_so(tmp_path: Path, expires: float) -> None:
    found = await signed_in(tmp_path / "c.json", accessToken="tok", expiresAt=expires).look()
    assert found.credential is None
    assert found.why == "its token has expired; start `claude` on this host to renew it"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "is not JSON"),
        (b'{"claudeAiOauth": {"accessToken": "hid', "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[]", "holds no sign-in"),
        (b"null", "holds no sign-in"),
        (b"{}", "holds no sign-in"),
        (b'{"claudeAiOauth": "hidden"}', "holds no sign-in"),
        (b'{"claudeAiOauth": {}}', "holds no access token"),
        (b'{"claudeAiOauth": {"accessToken": ""}}', "holds no access token"),
        (b'{"claudeAiOauth": {"accessToken": 5}}', "holds no access token"),
        (
            b'{"claudeAiOauth": {"accessToken": "a b"}}',
            "what it holds is not one word of printable ASCII",
        ),
    ],
)
async def test_a_file_without_a_sign_in_says_why(tmp_path: Path, text: bytes, why: str) -> None:
    file = tmp_path / "c.json"
    file.write_bytes(text)
    source = ClaudeFileSource(file, FakeClock(NOW))
    assert await source.look() == Finding(str(file), None, why)


async def test_a_file_that_is_missing_or_unreadable_says_so(tmp_path: Path) -> None:
    missing = ClaudeFileSource(tmp_path / "c.json", FakeClock())
    assert (await missing.look()).why == "does not exist"
    assert missing.stamp() is None
    directory = ClaudeFileSource(tmp_path, FakeClock())
    assert (await directory.look()).why == "cannot be read: Is a directory"


async def test_the_stamp_changes_with_the_file(tmp_path: Path) -> None:
    source = signed_in(tmp_path / "c.json", accessToken="tok")
    before = source.stamp()
    assert source.stamp() == before
    signed_in(tmp_path / "new.json", accessToken="tok")
    (tmp_path / "new.json").replace(tmp_path / "c.json")
    assert source.stamp() != before
