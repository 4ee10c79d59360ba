from __future__ import annotations

from pathlib import Path

import pytest

from tachikoma.makima.tasks.copying import copy_files, leads_out, parts_of
from tachikoma.model.errors_fleet import WorkspaceError


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "parent"
    (path / "docs" / "deep").mkdir(parents=True)
    (path / "docs" / "deep" / "a b").write_text("text")
    (path / "docs" / "same").symlink_to("deep/a b")
    (path / "run").write_text("#!")
    (path / "run").chmod(0o755)
    (path / ".git").write_text("gitdir: /r")
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "child"
    path.mkdir()
    return path


def test_files_and_directories_come_to_the_same_places(source: Path, target: Path) -> None:
    copy_files(source, target, ["docs/", "./run"])
    assert (target / "docs" / "deep" / "a b").read_text() == "text"
    assert (target / "docs" / "same").readlink() == Path("deep/a b")
    assert (target / "run").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "../x", "docs/../../x", "~/x", "", ".", ".git", ".GIT/config", "a\0b", "a\\b"],
)
def test_a_path_that_may_lead_out_is_refused_before_anything_is_copied(
    source: Path, target: Path, path: str
) -> None:
    with pytest.raises(WorkspaceError) as caught:
        copy_files(source, target, ["run", path])
    assert repr(path) in caught.value.message
    assert list(target.iterdir()) == []


def test_a_missing_file_is_named(source: Path, target: Path) -> None:
    with pytest.raises(WorkspaceError, match="has no docs/none"):
        copy_files(source, target, ["run", "docs/none"])
    assert list(target.iterdir()) == []


@pytest.mark.parametrize("said", ["/etc", "../../x", "../.git/config"])
def test_a_link_that_leads_out_is_not_copied(source: Path, target: Path, said: str) -> None:
    (source / "docs" / "out").symlink_to(said)
    with pytest.raises(WorkspaceError, match="docs/out"):
        copy_files(source, target, ["run", "docs"])
    assert list(target.iterdir()) == []


def test_nothing_is_read_through_a_linked_directory(
    source: Path, target: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_text("key")
    (source / "way").symlink_to(tmp_path / "secret")
    with pytest.raises(WorkspaceError, match="symbolic link"):
        copy_files(source, target, ["way/key"])


def test_a_clone_within_is_not_copied(source: Path, target: Path) -> None:
    (source / "docs" / ".git").mkdir()
    with pytest.raises(WorkspaceError, match=r"docs/\.git"):
        copy_files(source, target, ["docs"])


def test_its_own_worktree_has_everything_already(source: Path) -> None:
    copy_files(source, source, ["run"])
    assert (source / "run").read_text() == "#!"


def test_paths_are_taken_apart() -> None:
    assert parts_of("a//b/./c") == ("a", "b", "c")
    assert leads_out(("a", "link"), "../b") is False
    assert leads_out(("link",), "..") is True
