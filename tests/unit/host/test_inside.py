from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tachikoma.host import inside
from tachikoma.model.errors import HostError


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    path = tmp_path / "outside"
    path.mkdir()
    (path / "secret").write_text("secret")
    return path


@pytest.fixture
def root(tmp_path: Path, outside: Path) -> Path:
    path = tmp_path / "root"
    (path / "a" / "b").mkdir(parents=True)
    (path / "a" / "file").write_text("text")
    (path / "out").symlink_to(outside)
    (path / "a" / "link").symlink_to("file")
    return path


def test_a_file_is_read_but_not_through_a_link(root: Path) -> None:
    assert inside.read(root, ("a", "file"), most=3) == b"tex"
    assert inside.read(root, ("a", "link"), most=9) is None
    assert inside.read(root, ("out", "secret"), most=9) is None
    assert inside.read(root, ("a", "b"), most=9) is None
    assert inside.read(root, ("nothing",), most=9) is None


def test_a_pipe_is_no_file_and_holds_nobody_up(root: Path) -> None:
    os.mkfifo(root / "pipe")
    assert inside.read(root, ("pipe",), most=9) is None


def test_writing_replaces_a_link_and_leaves_what_it_led_to(root: Path) -> None:
    inside.write(root, ("a", "link"), b"new", mode=0o600)
    assert (root / "a" / "link").read_text() == "new"
    assert not (root / "a" / "link").is_symlink()
    assert (root / "a" / "file").read_text() == "text"
    assert sorted(path.name for path in (root / "a").iterdir()) == ["b", "file", "link"]


def test_nothing_is_written_or_removed_behind_a_link(root: Path, outside: Path) -> None:
    with pytest.raises(HostError):
        inside.write(root, ("out", "planted"), b"x")
    inside.remove(root, ("out", "secret"))
    assert [path.name for path in outside.iterdir()] == ["secret"]


def test_a_link_is_removed_and_not_what_it_leads_to(root: Path, outside: Path) -> None:
    inside.remove(root, ("out",))
    inside.remove(root, ("out",))
    assert not (root / "out").is_symlink()
    assert (outside / "secret").exists()


def test_walking_names_links_and_does_not_follow_them(root: Path) -> None:
    assert list(inside.walk(root, ("a",))) == [
        (("a",), stat.S_IFDIR),
        (("a", "b"), stat.S_IFDIR),
        (("a", "file"), stat.S_IFREG),
        (("a", "link"), stat.S_IFLNK),
    ]
    with pytest.raises(FileNotFoundError):
        list(inside.walk(root, ("nothing",)))
    with pytest.raises(OSError, match="out"):
        list(inside.walk(root, ("out", "secret")))


def test_copies_keep_permissions_and_links_and_lose_special_bits(
    root: Path, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (root / "a" / "file").chmod(0o4755)
    for parts, _ in list(inside.walk(root, ("a",))):
        inside.copy(root, target, parts)
    assert stat.S_IMODE((target / "a" / "file").stat().st_mode) == 0o755
    assert (target / "a" / "link").readlink() == Path("file")
    assert (target / "a" / "b").is_dir()


def test_a_copy_does_not_follow_a_link_of_the_target(
    root: Path, outside: Path, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "a").symlink_to(outside)
    with pytest.raises(HostError):
        inside.copy(root, target, ("a", "file"))
    assert [path.name for path in outside.iterdir()] == ["secret"]
    os.mkfifo(root / "pipe")
    with pytest.raises(HostError, match="no file"):
        inside.copy(root, target, ("pipe",))


def test_a_file_is_as_old_as_it_is_told_to_be(root: Path) -> None:
    inside.write(root, ("dated",), b"x", modified_ns=5_000_000_001)
    assert inside.modified_ns(root, ("dated",)) == 5_000_000_001
    inside.write(root, ("dated",), b"y")
    assert inside.modified_ns(root, ("dated",)) > 5_000_000_001
    assert inside.modified_ns(root, ("gone",)) == 0
