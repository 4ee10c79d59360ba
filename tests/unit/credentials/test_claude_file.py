from __future__ import annotations

import json
from pathlib import Path

import pytest

from tachikoma.credentials.claude_file import (
    ClaudeFileSource,
    ConsoleKeySource,
    credentials_file,
    state_file,
)
from tachikoma.credentials.port import Credential, Finding, Kind
from tachikoma.credentials.sign_in import MISSHAPEN
from tachikoma.host.clock import FakeClock

NOW = 1_700_000_000.0


def signed_in(file: Path, **login: object) -> ClaudeFileSource:
    file.write_text(json.dumps({"claudeAiOauth": login, "mcpOAuth": {"accessToken": "no"}}))
    return ClaudeFileSource(file, FakeClock(NOW))


def test_the_sign_in_is_in_the_home_unless_claude_is_told_otherwise() -> None:
    home = Path("/home/x")
    assert credentials_file({}, home) == Path("/home/x/.claude/.credentials.json")
    assert credentials_file({"CLAUDE_CONFIG_DIR": ""}, home) == credentials_file({}, home)
    assert state_file({}, home) == Path("/home/x/.claude.json")
    assert state_file({"CLAUDE_CONFIG_DIR": "/etc/claude"}, home) == Path(
        "/etc/claude/.claude.json"
    )


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
        (b"[" * 100_000, "is not JSON"),
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
    assert await source.look() == Finding(str(file), None, why, warning=why != "holds no sign-in")


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


@pytest.mark.parametrize(
    ("text", "why", "warning"),
    [
        (b'{"projects": {}}', "holds no API key", False),
        (b'{"primaryApiKey": ""}', "holds no API key", False),
        (b'{"primaryApiKey": 5}', "holds no API key", False),
        (b"[]", "holds no API key", False),
        (b'{"primaryApiKey": "hid', "is not JSON", True),
        (b'{"primaryApiKey": "a b"}', MISSHAPEN, True),
    ],
)
async def test_a_console_sign_in_that_is_not_there_says_why(
    tmp_path: Path, text: bytes, why: str, warning: bool
) -> None:
    file = tmp_path / ".claude.json"
    file.write_bytes(text)
    assert await ConsoleKeySource(file).look() == Finding(str(file), None, why, warning)


async def test_a_console_sign_in_gives_its_api_key(tmp_path: Path) -> None:
    file = tmp_path / ".claude.json"
    assert (await ConsoleKeySource(file).look()).why == "does not exist"
    assert (await ConsoleKeySource(tmp_path).look()).why == "cannot be read: Is a directory"
    file.write_text('{"primaryApiKey": "sk-ant-api03-x", "projects": {"/": {}}}')
    assert (await ConsoleKeySource(file).look()).credential == Credential(
        Kind.API_KEY, "sk-ant-api03-x", str(file)
    )
