"""What runs in a guest that is to be suspended, told of the processes of these tests instead."""

from __future__ import annotations

import json
import mmap
import os
import subprocess
from pathlib import Path

import pytest

from tachikoma.hypervisor.qemu import detach

PID = os.getpid()


@pytest.fixture
def share(tmp_path: Path) -> Path:
    made = tmp_path / "a share"
    made.mkdir()
    (made / "file").write_bytes(b"x" * mmap.PAGESIZE)
    return made


@pytest.fixture
def comm() -> str:
    return Path("/proc/self/comm").read_text().strip()


def test_a_share_that_nobody_uses_is_held_by_nobody(share: Path) -> None:
    assert detach.held_by(PID, [str(share)]) == []


def test_an_open_file_holds_its_share(share: Path, comm: str) -> None:
    with (share / "file").open():
        held = detach.held_by(PID, ["/nowhere", str(share)])
    assert held == [{"pid": PID, "command": comm, "path": str(share / "file")}]


def test_a_working_directory_holds_its_share(
    share: Path, comm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(share)
    assert detach.held_by(PID, [str(share)]) == [{"pid": PID, "command": comm, "path": str(share)}]


def test_a_mapped_file_holds_its_share_when_it_is_closed(share: Path) -> None:
    with (share / "file").open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    with mapped:  # keeps a descriptor of its own, too
        (held,) = detach.held_by(PID, [str(share)])
    assert held["path"] == str(share / "file")


def test_a_removed_file_holds_its_share(share: Path) -> None:
    with (share / "file").open():
        (share / "file").unlink()
        (held,) = detach.held_by(PID, [str(share)])
    assert held["path"] == f"{share / 'file'} (deleted)"


def test_a_directory_whose_name_begins_alike_is_another(share: Path) -> None:
    with (share / "file").open():
        assert detach.held_by(PID, [str(share)[:-1], f"{share}/fi"]) == []


def test_one_path_of_each_process_is_told(share: Path) -> None:
    (share / "more").touch()
    with (share / "more").open(), (share / "file").open():
        assert [each["path"] for each in detach.held_by(PID, [str(share)])] == [str(share / "file")]


def test_a_process_that_has_ended_holds_nothing() -> None:
    assert detach.held_by(1 << 30, ["/"]) == []


def test_a_link_that_has_gone_leads_nowhere(tmp_path: Path) -> None:
    assert detach.target(str(tmp_path / "gone")) == ""


def test_all_processes_but_this_one_are_looked_at() -> None:
    found = detach.processes()
    assert PID not in found
    assert os.getppid() in found


@pytest.mark.parametrize(
    ("spelled", "path"),
    [
        ("/home/u/app", "/home/u/app"),
        (r"/home/u/a\040b\011c\134d\012e", "/home/u/a b\tc\\d\ne"),
        ("/home/ü/日本", "/home/ü/日本"),
        ("/home/\udcff", "/home/\udcff"),
        (r"/src/a\134040b", r"/src/a\040b"),
    ],
)
def test_a_path_in_the_table_of_mounts_is_read_as_it_is(spelled: str, path: str) -> None:
    assert detach.unescaped(spelled) == path


def test_no_share_is_mounted_on_a_host() -> None:
    assert detach.mounted() == {}


@pytest.mark.live
def test_with_nobody_in_the_way_it_ends_well_and_says_nothing() -> None:
    script = Path(detach.__file__).read_text(encoding="utf-8")
    argv = ["/usr/bin/python3", "-I", "-S", "-c", script]
    ended = subprocess.run(argv, env={}, capture_output=True, timeout=10, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")


def test_who_is_in_the_way_is_told_and_nothing_is_changed(
    share: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, comm: str
) -> None:
    ready = share.parent / "ready"
    ready.touch()
    monkeypatch.setattr(detach, "READY", str(ready))
    monkeypatch.setattr(detach, "mounted", lambda: {str(share): ("code", "rw")})
    monkeypatch.setattr(detach, "processes", lambda: [PID])
    with (share / "file").open():
        assert detach.main() == detach.IN_USE
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [
        {"pid": PID, "command": comm, "path": str(share / "file")}
    ]
    assert ready.exists()


MOUNTED = {"/a": ("code", "rw"), "/a/b/c": ("claude-rules", "ro"), "/a/b": ("dotgit", "rw")}


@pytest.mark.parametrize(
    ("busy", "asked"),
    [
        ("", ["/a/b/c", "/a/b", "/a"]),
        ("/a/b/c", ["/a/b/c"]),
        ("/a", ["/a/b/c", "/a/b", "/a", "rw dotgit /a/b", "ro claude-rules /a/b/c"]),
    ],
)
def test_the_innermost_share_goes_first_and_all_come_back_if_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, busy: str, asked: list[str]
) -> None:
    ready, done = tmp_path / "ready", list[str]()
    ready.write_text("digest\n")

    def run(_mode: int, program: str, argv: list[str]) -> int:
        assert not ready.exists()  # the host's mark goes before the first of them
        if program == "mount":
            assert list(argv[:5]) == [
                "mount",
                "-t",
                "virtiofs",
                "-o",
                f"nosuid,nodev,{argv[4][-2:]}",
            ]
            done.append(f"{argv[4][-2:]} {argv[5]} {argv[6]}")
            return 0
        done.append(argv[-1])
        return 32 if argv[-1] == busy else 0

    monkeypatch.setattr(detach, "READY", str(ready))
    monkeypatch.setattr(detach, "mounted", lambda: MOUNTED)
    monkeypatch.setattr(detach, "processes", list)
    monkeypatch.setattr("os.spawnvp", run)
    monkeypatch.setattr("os.sync", lambda: None)
    assert detach.main() == (1 if busy else 0)
    assert done == asked
    assert (ready.read_text() if ready.exists() else "") == ("digest\n" if busy else "")
