"""The real Claude Code with what a VM is given, and each kind of credential on the host."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.live.conftest import User, requests_in, stand_in

pytestmark = pytest.mark.live_qemu

OAUTH_BETA = "oauth-2025-04-20"
TOKEN = "sk-ant-oat01-of-the-users-own-sign-in"


def ask_claude(user: User, repository: Path, claude: Path) -> None:
    """Let Claude Code ask with the environment of the VM; this host is the quicker of the two."""
    told = user.run("exec", "main", "--", "bash", "-lc", "env -0", cwd=repository).stdout
    variables = dict(each.split("=", 1) for each in told.split("\0") if each)
    names = [name for name in variables if name.startswith(("ANTHROPIC_", "CLAUDE_", "DISABLE_"))]
    env = {name: variables[name] for name in names}
    port = urlsplit(env["ANTHROPIC_BASE_URL"]).port
    env["ANTHROPIC_BASE_URL"] = f"http://127.0.0.1:{port}"
    env["HOME"] = str(user.home / "claudes")
    done = user.run_any(str(claude), "-p", "hello", cwd=repository, env=env)
    assert done.stdout == "OK\n"


def calls(log: Path) -> list[dict[str, Any]]:
    return [each for each in requests_in(log) if each["method"] == "POST"]


def test_the_api_gets_the_key_or_the_sign_in_with_the_headers_that_each_needs(
    live_user: User, claude_code: Path, real_environ: dict[str, str], tmp_path: Path
) -> None:
    user = live_user
    repository = user.repository()
    user.run("spawn", "main", "--json", cwd=repository)
    ask_claude(user, repository, claude_code)
    with_key = calls(user.api_log)
    user.run("proxy", "stop")

    sign_in = user.home / ".claude" / ".credentials.json"
    sign_in.parent.mkdir()
    expires = (time.time() + 3600) * 1000
    login = {"accessToken": TOKEN, "refreshToken": "sk-ant-ort01-no", "expiresAt": expires}
    sign_in.write_text(json.dumps({"claudeAiOauth": login}))
    log = tmp_path / "oauth.jsonl"
    with stand_in(real_environ, TOKEN, log) as url:
        # The sign-in comes before the variable, so ANTHROPIC_API_KEY may stay.
        elsewhere = {"ANTHROPIC_BASE_URL": url}
        user.run("spawn", "main", "--json", cwd=repository, env=elsewhere)
        ask_claude(user, repository, claude_code)
        shown = user.run("credentials", env=elsewhere)
        with_token = calls(log)

    assert with_key
    assert {tuple(each["credential_headers"]) for each in with_key} == {("x-api-key",)}
    assert not any(OAUTH_BETA in each["betas"] for each in with_key)
    assert {each["status"] for each in with_key} == {200}

    assert {tuple(each["credential_headers"]) for each in with_token} == {("authorization",)}
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    assert {each["credential_sha256"] for each in with_token} == {digest}
    for each, before in zip(with_token, with_key, strict=True):
        assert each["betas"] == [*before["betas"], OAUTH_BETA]
        assert "claude-code-20250219" in each["betas"]
    assert {each["status"] for each in with_token} == {200}
    assert len(calls(user.api_log)) == len(with_key)

    assert "~/.claude/.credentials.json" in shown.stdout.replace(str(user.home), "~")
    assert TOKEN not in shown.stdout + shown.stderr
    logs = [each for each in (user.home / ".config").rglob("*") if each.is_file()]
    assert not any(TOKEN.encode() in each.read_bytes() for each in logs)
