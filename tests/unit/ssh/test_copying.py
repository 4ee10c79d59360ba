from __future__ import annotations

import os
from pathlib import Path

import pytest

from tachikoma.model.errors import CopyError
from tachikoma.model.names import VmName
from tachikoma.model.vm import Endpoint
from tachikoma.ssh.copying import copy_in, copy_out
from tests.doubles.local_shell import LocalShell

pytestmark = pytest.mark.live


class Two:
    """A host and a guest: two directories of this machine."""

    def __init__(self, base: Path) -> None:
        self.host, self.guest = base / "host", base / "guest"
        self.host.mkdir()
        self.guest.mkdir()
        self.shell = LocalShell()
        vm = VmName("tachikoma-app-x")
        self.login = self.shell.login(vm, Endpoint("127.0.0.1", 22), "admin")

    async def put(self, source: Path, target: str) -> tuple[int, int]:
        copied = await copy_in(self.shell, self.login, source, target, directory=str(self.guest))
        return copied.files, copied.size

    async def get(self, source: str, target: Path) -> tuple[int, int]:
        copied = await copy_out(self.shell, self.login, source, target, directory=str(self.guest))
        return copied.files, copied.size


@pytest.fixture
def two(tmp_path: Path) -> Two:
    return Two(tmp_path.resolve())


def tree(base: Path) -> None:
    """Make files of many kinds below ``base``."""
    (base / "sub dir").mkdir(parents=True)
    (base / "sub dir" / "-ü\n").write_bytes(bytes(range(256)) * 5000)
    (base / "sub dir" / "-ü\n").chmod(0o604)
    (base / "run").write_text("#!/bin/sh\n")
    (base / "run").chmod(0o755)
    (base / "gone").symlink_to("/nowhere")
    (base / "sub dir").chmod(0o710)
    os.utime(base / "run", (1_500_000_000, 1_500_000_000))


def seen(base: Path) -> dict[str, tuple[int, int, bytes]]:
    """Tell everything that matters of a tree."""
    found = {}
    for path in sorted(base.rglob("*")):
        state = path.lstat()
        text = os.fsencode(path.readlink()) if path.is_symlink() else b""
        text = path.read_bytes() if path.is_file() else text
        times = 0 if path.is_symlink() else int(state.st_mtime)
        found[str(path.relative_to(base))] = (state.st_mode, times, text)
    return found


async def test_a_tree_goes_in_and_comes_out_exactly_as_it_is(two: Two) -> None:
    tree(two.host / "made")
    assert await two.put(two.host / "made", str(two.guest)) == (3, 1_280_010)
    assert seen(two.guest / "made") == seen(two.host / "made")
    assert await two.get("made", two.host / "again") == (3, 1_280_010)
    assert seen(two.host / "again") == seen(two.host / "made")


async def test_a_directory_gets_a_copy_inside_and_another_name_is_taken(two: Two) -> None:
    (two.host / "a").write_text("a")
    (two.guest / "there").mkdir()
    await two.put(two.host / "a", "there")
    await two.put(two.host / "a", "there/b")
    assert sorted(path.name for path in (two.guest / "there").iterdir()) == ["a", "b"]
    (two.host / "here").mkdir()
    await two.get("there/b", two.host / "here")
    await two.get("there", two.host / "here" / "c")
    assert seen(two.host / "here").keys() == {"b", "c", "c/a", "c/b"}


async def test_what_is_missing_on_either_side_is_told(two: Two) -> None:
    (two.host / "a").write_text("a")
    with pytest.raises(CopyError, match=r"there is no .*/host/none"):
        await two.put(two.host / "none", ".")
    with pytest.raises(CopyError, match="there is no directory none"):
        await two.put(two.host / "a", "none/b")
    with pytest.raises(CopyError, match="there is no directory none/"):
        await two.put(two.host / "a", "none/")
    with pytest.raises(CopyError, match="there is no none"):
        await two.get("none", two.host)
    with pytest.raises(CopyError, match="there is no directory"):
        await two.get("none", two.host / "no" / "b")
    with pytest.raises(CopyError, match="no name of its own"):
        await two.get(".", two.host)
    assert [path.name for path in two.host.iterdir()] == ["a"]


async def test_a_place_that_takes_nothing_is_told(two: Two) -> None:
    (two.host / "a").write_text("a" * 5_000_000)
    (two.guest / "b").mkdir()
    (two.guest / "b" / "a").mkdir()
    (two.guest / "b" / "a" / "inside").write_text("")
    with pytest.raises(CopyError):
        await two.put(two.host / "a", "b")
    (two.guest / "c").write_text("c" * 5_000_000)
    (two.host / "d" / "c").mkdir(parents=True)
    with pytest.raises(CopyError, match="Is a directory"):
        await two.get("c", two.host / "d")


async def test_a_socket_is_left_out(two: Two) -> None:
    (two.host / "x").mkdir()
    os.mkfifo(two.host / "x" / "pipe")
    copied = await copy_in(two.shell, two.login, two.host / "x", ".", directory=str(two.guest))
    assert (copied.files, copied.skipped) == (0, ["x/pipe"])
