from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tachikoma.host import process
from tachikoma.host.files import from_os_error, locked, translated, try_lock, write_atomically
from tachikoma.model.errors import DiskFullError, HostError, PermissionDeniedError


def test_a_file_is_written_whole_with_its_mode_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a 'file'"
    write_atomically(path, b"one")
    write_atomically(path, b"two", mode=0o640)
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_who_reads_while_a_file_is_replaced_keeps_the_old_one_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with path.open("rb") as reader:
        write_atomically(path, b"new")
        assert reader.read() == b"old"


@pytest.mark.parametrize("target", ["missing/file", "directory"])
def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path, target: str) -> None:
    (tmp_path / "directory").mkdir()
    with pytest.raises(HostError, match=target):
        write_atomically(tmp_path / target, b"x")
    assert [each.name for each in tmp_path.rglob("*")] == ["directory"]


@pytest.mark.live
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
async def test_a_full_disk_leaves_the_old_file_and_says_so(tmp_path: Path) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(tmp_path)]
    if (await process.run(mount, deadline_s=10, check=False)).status != 0:
        pytest.skip("this machine lets nobody mount")
    try:
        write_atomically(tmp_path / "file", b"old")
        with pytest.raises(DiskFullError, match="no space is left") as caught:
            write_atomically(tmp_path / "file", b"x" * 100_000)
        assert "tachikoma list" in caught.value.hint
        assert [each.name for each in tmp_path.iterdir()] == ["file"]
        assert (tmp_path / "file").read_bytes() == b"old"
    finally:
        await process.run(["umount", str(tmp_path)], deadline_s=10)


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, DiskFullError),
        (errno.EDQUOT, DiskFullError),
        (errno.EACCES, PermissionDeniedError),
        (errno.EPERM, PermissionDeniedError),
        (errno.EROFS, PermissionDeniedError),
        (errno.EIO, HostError),
    ],
)
def test_what_the_system_says_becomes_our_error_with_path_and_hint(
    number: int, kind: type[HostError]
) -> None:
    error = from_os_error(OSError(number, os.strerror(number)), Path("/some/file"))
    assert type(error) is kind
    assert "/some/file" in error.message
    assert error.hint


def test_translated_lets_other_errors_pass() -> None:
    with pytest.raises(ZeroDivisionError), translated(Path("/x")):
        raise ZeroDivisionError
    with pytest.raises(HostError, match="/x: nothing"), translated(Path("/x")):
        raise OSError(errno.EIO, "nothing")


def test_a_lock_is_for_one_and_free_again_after_it(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "lock"
    with locked(path), pytest.raises(TimeoutError, match="lock"), locked(path, deadline_s=0):
        pass
    with locked(path, deadline_s=0):
        assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_lock_is_free_again_after_an_error_which_passes_as_it_is(tmp_path: Path) -> None:
    error = TimeoutError("of the block")
    with pytest.raises(TimeoutError) as caught, locked(tmp_path / "lock"):
        raise error
    assert caught.value is error
    with locked(tmp_path / "lock", deadline_s=0):
        pass


def test_a_lock_that_cannot_be_made_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HostError, match="file/lock"), locked(tmp_path / "file" / "lock"):
        pass
    (tmp_path / "directory").mkdir()
    with pytest.raises(HostError, match="directory"), locked(tmp_path / "directory"):
        pass


def test_try_lock_tells_whether_it_got_it_and_closing_gives_it_back(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    one = os.open(path, os.O_RDWR | os.O_CREAT)
    other = os.open(path, os.O_RDWR)
    try:
        assert try_lock(one)
        assert not try_lock(other)
    finally:
        os.close(one)
    try:
        assert try_lock(other)
    finally:
        os.close(other)
