from __future__ import annotations

import os
from pathlib import Path

import pytest

from tachikoma.belongings.home import HomeBelongings, slug
from tachikoma.belongings.port import LARGEST_SCRIPT, ClaudeFiles, Script
from tachikoma.model.errors import CommandFailed, ConfigError, HostError, MissingToolError


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home/.claude").mkdir(parents=True)
    return tmp_path / "home"


def of(home: Path, **environment: str) -> HomeBelongings:
    return HomeBelongings(home=home, environment=environment)


async def test_the_directories_that_exist_are_found_in_order_and_once(home: Path) -> None:
    (home / "dotfiles").mkdir()
    (home / ".claude/rules").mkdir()
    (home / ".claude/skills").symlink_to(home / "dotfiles")
    (home / ".claude/agents").write_text("no directory")
    asked = ["skills", "agents", "plugins", "rules", "skills"]
    found = await of(home).directories(asked)
    assert found == (home / ".claude/skills", home / ".claude/rules")


async def test_the_memory_of_a_project_is_where_claude_code_keeps_it(home: Path) -> None:
    project = Path("/home/u/my.app_x")
    assert slug(project) == "-home-u-my-app-x"
    assert await of(home).memory(project) is None
    place = home / ".claude/projects/-home-u-my-app-x/memory"
    place.mkdir(parents=True)
    assert await of(home).memory(project) == place


async def test_both_files_of_claude_code_are_read(home: Path) -> None:
    assert await of(home).claude_files() == ClaudeFiles()
    (home / ".claude/settings.json").write_text('{"model": "opus"}')
    (home / ".claude.json").write_text("{}")
    found = await of(home).claude_files()
    assert (found.settings, found.state) == ('{"model": "opus"}', "{}")
    assert "opus" not in repr(found)


async def test_claude_code_may_have_a_directory_of_its_own(home: Path) -> None:
    own = home / "elsewhere"
    (own / "skills").mkdir(parents=True)
    (own / "settings.json").write_text("1")
    (own / ".claude.json").write_text("2")
    belongings = of(home, CLAUDE_CONFIG_DIR=str(own))
    assert await belongings.claude_files() == ClaudeFiles("1", "2")
    assert await belongings.directories(["skills"]) == (own / "skills",)


async def test_a_file_that_cannot_be_read_is_told(home: Path) -> None:
    (home / ".claude/settings.json").mkdir()
    with pytest.raises(HostError, match=r"settings\.json"):
        await of(home).claude_files()


async def test_a_script_is_read_as_it_is(home: Path) -> None:
    (home / "set up.sh").write_bytes(b"#!/bin/sh\n\xff\r\n")
    assert await of(home).script(home / "set up.sh") == Script("set up.sh", b"#!/bin/sh\n\xff\r\n")


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: None, "No such file"),
        (lambda path: path.mkdir(), "no ordinary file"),
        (os.mkfifo, "no ordinary file"),
        (lambda path: path.write_bytes(b"#" * (LARGEST_SCRIPT + 1)), "larger than 256 KiB"),
    ],
)
async def test_what_is_no_script_is_refused(home: Path, make: object, why: str) -> None:
    assert callable(make)
    make(home / "x.sh")
    with pytest.raises(ConfigError, match=why) as caught:
        await of(home).script(home / "x.sh")
    assert "provision_scripts" in caught.value.hint


@pytest.mark.live
async def test_the_token_is_the_one_that_gh_gives(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = home / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    gh = programs / "gh"
    gh.write_text('#!/bin/sh\n[ "$*" = "auth token" ] && [ "$GH_TOKEN" ] && echo "$GH_TOKEN"\n')
    gh.chmod(0o755)
    assert await of(home, GH_TOKEN="gho_x", OTHER="y").github_token() == "gho_x"
    with pytest.raises(CommandFailed, match="gh"):
        await of(home).github_token()
    gh.unlink()
    monkeypatch.setenv("PATH", str(programs))
    with pytest.raises(MissingToolError, match="gh"):
        await of(home).github_token()
