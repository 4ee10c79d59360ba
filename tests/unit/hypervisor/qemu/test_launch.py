"""The launcher with stand-ins for QEMU and virtiofsd: real processes and namespaces, no VM."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tachikoma.host import process
from tachikoma.hypervisor.qemu.machine import Run, decode_run
from tachikoma.hypervisor.qemu.probe import LAUNCHER
from tachikoma.hypervisor.qemu.shares import IdMaps, id_maps
from tachikoma.model.errors import MissingToolError

pytestmark = pytest.mark.live

SOON_S = 30.0
STAYS = ["/bin/sleep", "60"]
MEMORY = 3 << 20
SHOW = ["/bin/sh", "-c", "exec cat </proc/self/fd/{memory} >seen"]


@pytest.fixture(scope="module")
def maps() -> IdMaps:
    try:
        return id_maps()
    except MissingToolError as error:
        pytest.skip(error.message)


@dataclass
class Vm:
    """The directory of a VM, and what is launched in it."""

    home: Path
    maps: IdMaps
    shares: list[dict[str, Any]] = field(default_factory=list)
    memory: dict[str, Any] = field(default_factory=lambda: {"size": MEMORY, "from": None})
    tied: int | None = None
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def share(self, directory: Path, script: str, *, read_only: bool = False) -> Path:
        """Add a share whose daemon is ``script``; gives where that sees the directory."""
        number = len(self.shares)
        mountpoint = self.home / f"share{number}"
        self.shares.append(
            {
                "socket": str(self.home / f"share{number}.sock"),
                "mountpoint": str(mountpoint),
                "directory": str(directory),
                "read_only": read_only,
                "argv": ["/bin/sh", "-c", f"{script}\nexec sleep 60", "daemon", str(mountpoint)],
            }
        )
        return mountpoint

    def launch(
        self, qemu: list[str] | None = None, *, below: Sequence[str] = ()
    ) -> subprocess.Popen[bytes]:
        """Launch; ``below`` is a program that is given the launcher's argv, and starts it."""
        lock = os.open(self.home / "lock", os.O_RDWR | os.O_CREAT)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        spec = {
            "lock": lock,
            "record": "run.json",
            "about": {"boot_id": "b", "sockets": "/s"},
            "qemu": qemu or STAYS,
            "monitor": str(self.home / "monitor"),
            "memory_size": self.memory["size"],
            "memory_from": self.memory["from"],
            "tied": self.tied,
            "shares": self.shares,
            "uid_map": self.maps.uid,
            "gid_map": self.maps.gid,
            "id_tools": self.maps.tools,
        }
        with (self.home / "log").open("ab") as log:
            argv = [*below, sys.executable, "-I", "-S", str(LAUNCHER), json.dumps(spec)]
            started = subprocess.Popen(
                argv, cwd=self.home, stdout=log, stderr=log, pass_fds=(lock,)
            )
        os.close(lock)
        self.started.append(started)
        return started

    @property
    def log(self) -> str:
        return (self.home / "log").read_text()

    def run(self) -> Run:
        path = self.home / "run.json"
        until(path.exists)
        return decode_run(json.loads(path.read_bytes()))


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.01)


def is_qemu(started: subprocess.Popen[bytes]) -> None:
    until(lambda: process.command_line(started.pid) == tuple(STAYS))


@pytest.fixture
def vm(tmp_path: Path, maps: IdMaps) -> Iterator[Vm]:
    home = tmp_path / 'a VM, "quoted"'
    home.mkdir()
    each = Vm(home, maps)
    yield each
    for started in each.started:
        started.kill()
        started.wait(SOON_S)


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    directory = tmp_path / "some, 'files'"
    directory.mkdir()
    (directory / "here").write_text("mine")
    return directory


def test_it_becomes_qemu_and_has_written_down_who_that_is(vm: Vm) -> None:
    started = vm.launch()
    run = vm.run()
    assert run.qemu.pid == started.pid
    assert run.qemu.lives()
    is_qemu(started)


def test_the_vm_is_locked_until_qemu_ends(vm: Vm) -> None:
    started = vm.launch()
    is_qemu(started)
    with (vm.home / "lock").open() as lock:
        with pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        started.send_signal(signal.SIGKILL)
        started.wait(SOON_S)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_no_daemon_holds_the_lock(vm: Vm, shared: Path) -> None:
    vm.share(shared, 'ls -l /proc/self/fd >"$1/held"; touch "$1/done"')
    is_qemu(vm.launch())
    until((shared / "done").exists)
    held = (shared / "held").read_text()
    assert "socket:" in held, "it has what it is to listen on"
    assert str(vm.home / "lock") not in held


def test_the_guests_admin_is_this_user_and_its_root_is_not(vm: Vm, shared: Path) -> None:
    done = "touch root; touch admin; chown 1000:1000 admin; cat here > copy; touch done"
    vm.share(shared, f'cd "$1" && {{ {done}; }}')
    vm.launch()
    until((shared / "done").exists)
    owner = shared.stat().st_uid
    assert (shared / "admin").stat().st_uid == owner
    assert (shared / "root").stat().st_uid == vm.maps.uid[0][1] != owner
    assert (shared / "copy").read_text() == "mine"


def test_the_guests_root_is_root_of_nothing_on_this_host(vm: Vm, shared: Path) -> None:
    script = (
        'cd "$1"; cat /proc/1/environ >stolen 2>/dev/null; mknod disk b 8 0 2>/dev/null;'
        " chown 4242 here 2>/dev/null; touch done"
    )
    vm.share(shared, script)
    owner = shared.stat().st_uid
    vm.launch()
    until((shared / "done").exists)
    assert (shared / "stolen").read_bytes() == b""
    assert not (shared / "disk").exists()
    assert (shared / "here").stat().st_uid == owner


def test_a_read_only_share_is_so_whatever_its_daemon_tries(vm: Vm, shared: Path) -> None:
    other = shared.parent / "told"
    other.mkdir()
    vm.share(
        shared,
        f'touch "$1/new" 2>"{other}/said"; rm -f "$1/here"; touch "{other}/done"',
        read_only=True,
    )
    vm.launch()
    until((other / "done").exists)
    assert "Read-only" in (other / "said").read_text()
    assert (shared / "here").read_text() == "mine"
    assert not (shared / "new").exists()


def test_nothing_of_a_share_is_seen_at_its_mountpoint_from_outside(vm: Vm, shared: Path) -> None:
    mountpoint = vm.share(shared, 'touch "$1/done"')
    vm.launch()
    until((shared / "done").exists)
    assert list(mountpoint.iterdir()) == []


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_no_daemon_outlives_qemu(vm: Vm, shared: Path, how: signal.Signals) -> None:
    vm.share(shared, "")
    vm.share(shared, "trap '' TERM")
    started = vm.launch()
    is_qemu(started)
    daemons = vm.run().daemons
    assert [daemon.lives() for daemon in daemons] == [True, True]
    started.send_signal(how)
    started.wait(SOON_S)
    until(lambda: not any(daemon.lives() for daemon in daemons))


def test_a_qemu_that_is_not_there_leaves_nothing_running(vm: Vm, shared: Path) -> None:
    vm.share(shared, "")
    assert vm.launch(["/no/such/qemu"]).wait(SOON_S) != 0
    daemons = vm.run().daemons
    until(lambda: not any(daemon.lives() for daemon in daemons))
    assert "No such file" in vm.log


def test_a_directory_that_is_gone_is_named(vm: Vm, tmp_path: Path) -> None:
    vm.share(tmp_path / "gone", "")
    assert vm.launch().wait(SOON_S) == 1
    assert f"{tmp_path}/gone: No such file or directory" in vm.log


def test_memory_begins_as_nothing(vm: Vm) -> None:
    assert vm.launch(SHOW).wait(SOON_S) == 0
    assert (vm.home / "seen").read_bytes() == bytes(MEMORY)
    assert vm.run().memory > 2


def test_memory_begins_as_a_copy_of_what_was_saved(vm: Vm) -> None:
    saved = vm.home / "saved memory"
    with saved.open("wb") as file:
        for start in (0, 1 << 20, MEMORY - 5000):
            file.seek(start)
            file.write(bytes(range(1, 251)) * 20)
    content = saved.read_bytes()
    assert len(content) == MEMORY
    vm.memory["from"] = str(saved)
    write = "printf changed 1<>/proc/self/fd/{memory}; exec cat </proc/self/fd/{memory} >seen"
    assert vm.launch(["/bin/sh", "-c", write]).wait(SOON_S) == 0
    assert (vm.home / "seen").read_bytes() == b"changed" + content[7:]
    assert saved.read_bytes() == content, "what the guest does stays its own"


@pytest.mark.parametrize("size", [0, MEMORY - 1, MEMORY + 1])
def test_a_saved_memory_of_another_size_is_refused(vm: Vm, size: int) -> None:
    (vm.home / "saved").write_bytes(bytes(size))
    vm.memory["from"] = str(vm.home / "saved")
    assert vm.launch().wait(SOON_S) == 1
    assert f"saved does not hold a memory of {MEMORY} bytes" in vm.log
    assert not (vm.home / "run.json").exists()


def test_who_connects_to_the_monitor_is_kept_waiting_until_qemu_takes_over(vm: Vm) -> None:
    answer = (
        "import socket, sys; server = socket.socket(fileno=int(sys.argv[1]));"
        "server.accept()[0].sendall(b'here')"
    )
    vm.launch([sys.executable, "-c", answer, "{monitor}"])
    vm.run()
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(SOON_S)
        client.connect(str(vm.home / "monitor"))
        assert client.recv(9) == b"here"


@pytest.mark.parametrize("tied", [True, False])
def test_only_what_is_tied_ends_with_its_caller(vm: Vm, *, tied: bool) -> None:
    vm.tied = 0 if tied else None
    script = (
        "import os, subprocess, sys, time; *argv, spec = sys.argv[1:];"
        "spec = spec.replace('\"tied\": 0', '\"tied\": %d' % os.getpid());"
        "subprocess.Popen([*argv, spec], close_fds=False); time.sleep(60)"
    )
    caller = vm.launch(below=[sys.executable, "-c", script])
    qemu = vm.run().qemu
    until(lambda: process.command_line(qemu.pid) == tuple(STAYS))
    caller.kill()
    caller.wait(SOON_S)
    if tied:
        until(lambda: not qemu.lives())
    else:
        assert qemu.lives()
        os.kill(qemu.pid, signal.SIGKILL)


def test_what_is_tied_to_a_caller_that_has_ended_already_never_begins(vm: Vm) -> None:
    vm.tied = 1
    assert vm.launch().wait(SOON_S) == 1
    assert "the command that wanted this has ended" in vm.log
    assert not (vm.home / "run.json").exists()


def test_the_log_is_of_the_last_start(vm: Vm) -> None:
    (vm.home / "log").write_text("old\n")
    started = vm.launch(["/bin/echo", "new"])
    started.wait(SOON_S)
    assert vm.log == "new\n"


def test_sockets_of_an_earlier_start_are_no_hindrance(vm: Vm, shared: Path) -> None:
    vm.share(shared, "")
    for _ in range(2):
        started = vm.launch()
        is_qemu(started)
        started.kill()
        started.wait(SOON_S)


def test_a_machine_can_be_asked_whether_it_allows_all_this(maps: IdMaps) -> None:
    spec = {"uid_map": maps.uid, "gid_map": maps.gid, "id_tools": maps.tools}
    argv = [sys.executable, "-I", "-S", str(LAUNCHER), "--check", json.dumps(spec)]
    assert subprocess.run(argv, timeout=SOON_S, check=False).returncode == 0
