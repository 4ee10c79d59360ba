from __future__ import annotations

from pathlib import Path

import pytest

from tachikoma.git.exporting import exported
from tachikoma.model.errors import GitError
from tests.doubles.real_git import git, new_repository
from tests.unit.git.test_checkout import hostile


@pytest.mark.live
def test_only_the_named_refs_are_to_be_had_and_nothing_runs(tmp_path: Path) -> None:
    repo = new_repository(tmp_path / "repo")
    canary = tmp_path / "canary"
    hostile(repo, canary)
    git(repo, "branch", "other")
    commit = git(repo, "rev-parse", "main")
    canary.unlink(missing_ok=True)
    with exported(repo / ".git", {"refs/heads/main": commit}, head="refs/heads/main") as source:
        git(tmp_path, "clone", "-q", "--no-local", "--no-checkout", str(source), "out")
    assert git(tmp_path / "out", "rev-parse", "origin/main") == commit
    assert "other" not in git(tmp_path / "out", "branch", "-a")
    assert not canary.exists()
    assert not source.exists()


@pytest.mark.live
def test_objects_of_another_repository_are_not_given_away(tmp_path: Path) -> None:
    repo = new_repository(tmp_path / "repo")
    (repo / ".git" / "objects" / "info" / "alternates").write_text("/elsewhere\n")
    with (
        pytest.raises(GitError, match="alternates"),
        exported(repo / ".git", {}, head="refs/heads/main"),
    ):
        pytest.fail("exported")
