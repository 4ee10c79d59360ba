from __future__ import annotations

from pathlib import Path

import pytest

from tachikoma.git.private import private_git_dir
from tests.doubles.real_git import git, new_repository


@pytest.mark.live
async def test_only_plain_settings_of_the_repository_hold_and_it_is_gone_afterwards(
    tmp_path: Path,
) -> None:
    repo = new_repository(tmp_path.resolve() / "repo")
    git(repo, "config", "core.autocrlf", "input")
    git(repo, "config", "filter.evil.clean", "evil")
    (repo / ".git" / "info" / "exclude").write_text("secret\n")
    async with private_git_dir(repo / ".git", repo / ".git", repo) as private:
        assert "core.autocrlf=input" in private.options
        config = (private.path / "config").read_text()
        assert "evil" not in config
        assert (private.path / "info" / "exclude").read_text() == "secret\n"
        assert not (private.path / "shallow").exists()
        kept = private.path
    assert not kept.exists()


@pytest.mark.live
async def test_a_shallow_clone_stays_one(tmp_path: Path) -> None:
    repo = new_repository(tmp_path.resolve() / "repo")
    head = git(repo, "rev-parse", "HEAD")
    (repo / ".git" / "shallow").write_text(f"{head}\n")
    async with private_git_dir(repo / ".git", repo / ".git", repo) as private:
        assert (private.path / "shallow").read_text() == f"{head}\n"
