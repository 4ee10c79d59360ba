from __future__ import annotations

import os
from pathlib import Path

import pytest

from tachikoma.git.cloning import BareClone, Cloning, is_empty, temporary, usual_main
from tachikoma.model.errors import GitError
from tests.doubles.real_git import commit, git, new_repository


def test_the_branch_to_start_from_is_the_main_one_or_the_usual() -> None:
    assert usual_main({"x": "1", "trunk": "2"}, "trunk") == "trunk"
    assert usual_main({"x": "1", "master": "2"}, "") == "master"
    assert usual_main({"x": "1"}, "gone") == "x"
    assert usual_main({"x": "1", "y": "2"}, "") == ""


def test_what_is_half_made_goes(tmp_path: Path) -> None:
    with temporary(tmp_path / "x") as made:
        (made / "inside").write_text("x")
        assert not is_empty(made)
    assert is_empty(tmp_path)


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    path = new_repository(tmp_path.resolve() / "hub", branch="trunk")
    commit(path, "second", "2")
    git(path, "branch", "develop", "HEAD~1")
    return path


@pytest.fixture
def cloning() -> Cloning:
    return Cloning(environ=dict(os.environ))


@pytest.mark.live
async def test_a_full_clone_is_there_with_its_branch(hub: Path, cloning: Cloning) -> None:
    target = hub.parent / "deep" / "clone"
    await cloning.full(str(hub), target, branch="develop")
    assert git(target, "branch", "--show-current") == "develop"
    assert [path.name for path in target.parent.iterdir()] == ["clone"]


@pytest.mark.live
async def test_a_shallow_clone_has_one_commit(hub: Path, cloning: Cloning) -> None:
    target = hub.parent / "clone"
    target.mkdir()
    await cloning.full(f"file://{hub}", target, shallow=True)
    assert git(target, "rev-list", "--count", "HEAD") == "1"


@pytest.mark.live
async def test_a_clone_that_fails_leaves_nothing(hub: Path, cloning: Cloning) -> None:
    target = hub.parent / "clone"
    with pytest.raises(GitError, match="nope"):
        await cloning.full(str(hub), target, branch="nope")
    with pytest.raises(GitError, match="nowhere"):
        await cloning.full(str(hub.parent / "nowhere"), target)
    assert [path.name for path in hub.parent.iterdir()] == ["hub"]
    target.mkdir()
    (target / "mine").write_text("x")
    with pytest.raises(GitError, match="not empty"):
        await cloning.full(str(hub), target)
    assert [path.name for path in target.iterdir()] == ["mine"]


@pytest.mark.live
async def test_a_bare_clone_keeps_no_password_and_no_half(hub: Path, cloning: Cloning) -> None:
    clone = BareClone(hub.parent / "repos" / "hub", hub.parent / "repos" / ".host" / "hub")
    (clone.path.parent / ".hub.dead.tmp").mkdir(parents=True)
    (clone.own / "refs").mkdir(parents=True)
    await cloning.clone(f"file://me:secret@/{hub}", clone)
    assert git(clone.path, "config", "remote.origin.url") == f"file:///{hub}"
    assert git(clone.path, "symbolic-ref", "refs/remotes/origin/HEAD").endswith("origin/trunk")
    assert sorted(path.name for path in clone.path.parent.iterdir()) == [".host", "hub"]
