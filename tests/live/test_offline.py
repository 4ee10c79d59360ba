"""The stand-in of the API with the real Claude Code, on this host: what the demo rests on."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tachikoma.host import process
from tachikoma.offline.demo import ERRAND, FILE, LINE, PROMPT, SUBJECT
from tachikoma.offline.script import RunsCommands
from tachikoma.offline.server import OfflineApi

pytestmark = pytest.mark.live_qemu  # boots nothing, but needs what an image is made of

_KEY = "sk-ant-api03-of-this-test"
_DEADLINE_S = 120


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    place = tmp_path / "app"
    for argv in (
        ("git", "init", "-q", "-b", "main", str(place)),
        ("git", "-C", str(place), "config", "user.name", "A. User"),
        ("git", "-C", str(place), "config", "user.email", "user@example.org"),
        ("git", "-C", str(place), "commit", "-q", "--allow-empty", "-m", "First"),
    ):
        subprocess.run(argv, check=True, timeout=_DEADLINE_S)
    return place


@pytest.fixture
async def api() -> AsyncIterator[OfflineApi]:
    digest = hashlib.sha256(_KEY.encode()).hexdigest()
    async with OfflineApi(scripts=(ERRAND, RunsCommands()), secret_sha256=digest) as running:
        yield running


async def _ask(program: Path, prompt: str, *, cwd: Path, api: OfflineApi) -> str:
    done = await process.run(
        [str(program), "--dangerously-skip-permissions", "--print", prompt],
        deadline_s=_DEADLINE_S,
        cwd=cwd,
        env={
            "ANTHROPIC_BASE_URL": api.url,
            "ANTHROPIC_API_KEY": _KEY,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
            "IS_SANDBOX": "1",  # the tests may run as root
        },
    )
    return done.text


def _git(repository: Path, *argv: str) -> str:
    done = subprocess.run(
        ["git", "-C", repository, *argv],
        capture_output=True,
        text=True,
        check=True,
        timeout=_DEADLINE_S,
    )
    return done.stdout


async def test_claude_code_does_the_errand_of_the_demo(
    claude_code: Path, repository: Path, api: OfflineApi
) -> None:
    said = await _ask(claude_code, PROMPT, cwd=repository, api=api)

    commit = _git(repository, "log", "-1", "--format=%h %s").strip()
    assert commit.endswith(SUBJECT)
    assert commit in said
    assert _git(repository, "show", f"HEAD:{FILE}") == f"{LINE}\n"
    assert _git(repository, "status", "--porcelain") == ""
    asked = [seen for seen in api.requests if seen.path == "/v1/messages"]
    assert [seen.status for seen in asked] == [200, 200, 200]
    assert {seen.credential for seen in asked} == {"x-api-key"}


async def test_claude_code_runs_a_command_that_it_is_told_to_run(
    claude_code: Path, repository: Path, api: OfflineApi
) -> None:
    said = await _ask(claude_code, "run: echo $((6 * 7)) >&2", cwd=repository, api=api)
    assert said == "42"


async def test_a_tool_that_fails_is_not_told_as_a_success(
    claude_code: Path, repository: Path, api: OfflineApi
) -> None:
    (repository / ".git" / "index.lock").touch()
    said = await _ask(claude_code, PROMPT, cwd=repository, api=api)
    assert "I stop here, because the tool failed" in said
    assert os.path.lexists(repository / ".git" / "index.lock")
    assert _git(repository, "log", "-1", "--format=%s").strip() == "First"
