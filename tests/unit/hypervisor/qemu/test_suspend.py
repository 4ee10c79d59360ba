from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tachikoma.host import process
from tachikoma.host.clock import SystemClock
from tachikoma.hypervisor.qemu import suspend
from tachikoma.hypervisor.qemu.machine import Home, Process, Run
from tachikoma.hypervisor.qemu.snapshot import Saved
from tachikoma.model.errors import AgentError, DiskFullError, HypervisorError, VmInUseError
from tests.doubles import guest_agent
from tests.doubles.guest_agent import GuestAgent
from tests.doubles.qmp import Monitor

KEY = "k1"
MEMORY = b"what the guest knew" + bytes(1 << 16) + b"and more"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture
def run(own_home: Path) -> Iterator[Run]:
    """Have this process pass for a QEMU with the guest's memory open."""
    file = own_home / "memory"
    file.write_bytes(MEMORY)
    started = process.start_time(os.getpid())
    assert started is not None
    with file.open("rb") as memory:
        qemu = Process(os.getpid(), started)
        yield Run("boot", own_home, qemu, (), memory=memory.fileno(), port=50_022)


@dataclass(frozen=True)
class _Usage:
    """What a file system says of itself."""

    free: int


def holding(number: int) -> bytes:
    told = [
        {"pid": pid, "command": "bash", "path": f"/src/box/{pid}"} for pid in range(1, number + 1)
    ]
    return b"".join(json.dumps(each).encode() + b"\n" for each in told)


async def detach(run: Run, *, says: bytes = b"", complains: bytes = b"", status: int) -> GuestAgent:
    agent = GuestAgent()
    agent.process = guest_agent.Process([says], [complains], {"exitcode": status})
    async with agent.listening(run.sockets / "agent.sock"):
        await suspend.detach_shares(run, SystemClock())
    return agent


@pytest.mark.live
async def test_the_guest_lets_go_by_the_script_that_has_tests_of_its_own(run: Run) -> None:
    agent = await detach(run, status=0)
    (command,) = agent.commands
    script = Path(suspend.__file__).with_name("detach.py").read_text(encoding="utf-8")
    assert command[-5:] == ["/usr/bin/python3", "-I", "-S", "-c", script]


@pytest.mark.live
@pytest.mark.parametrize(
    ("number", "last"),
    [
        (1, "bash (process 1) uses /src/box/1"),
        (4, "bash (process 4) uses /src/box/4"),
        (6, "and 2 more"),
    ],
)
async def test_what_uses_the_worktree_is_told_by_name(run: Run, number: int, last: str) -> None:
    with pytest.raises(VmInUseError, match="the worktree is in use in the VM") as caught:
        await detach(run, says=holding(number), status=3)
    lines = caught.value.details.splitlines()
    assert lines[0] == "bash (process 1) uses /src/box/1"
    assert (lines[-1], len(lines)) == (last, min(number, 5))
    assert "tachikoma halt" in caught.value.hint


@pytest.mark.live
async def test_a_guest_that_cannot_is_quoted(run: Run) -> None:
    with pytest.raises(AgentError, match="cannot let go") as caught:
        await detach(run, complains=b"umount: target is busy \xff", status=1)
    assert caught.value.details == "umount: target is busy \ufffd"


def test_there_is_room_for_a_small_memory(run: Run, home: Home) -> None:
    suspend.check_space(run, home)
    assert list(home.path.iterdir()) == []


def test_too_little_room_is_told_in_numbers_before_anything_is_done(
    run: Run, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _path: _Usage(10 << 20))
    with pytest.raises(DiskFullError) as caught:
        suspend.check_space(run, home)
    assert caught.value.message == (
        f"keeping the VM's memory takes 64 MiB, and {home.path} has 10 MiB left"
    )
    assert "tachikoma halt" in caught.value.hint
    assert list(home.path.iterdir()) == []


@pytest.mark.live
async def test_state_and_memory_are_kept_under_their_key_and_the_vm_stays_paused(
    run: Run, home: Home
) -> None:
    monitor = Monitor(state=b"devices")
    async with monitor.listening(run.sockets / "monitor.sock"):
        saved = await suspend.save(run, home, KEY)
    assert (saved.path, saved.whole(KEY), saved.whole("k2")) == (home.saved, True, False)
    assert (saved.state.read_bytes(), saved.memory.read_bytes()) == (b"devices", MEMORY)
    assert home.saved.stat().st_mode & 0o777 == 0o700
    assert "stop" in monitor.heard
    assert "cont" not in monitor.heard


@pytest.mark.live
async def test_what_was_kept_before_goes(run: Run, home: Home) -> None:
    home.saved.mkdir()
    (home.saved / "leftover").touch()
    monitor = Monitor(state=b"devices")
    async with monitor.listening(run.sockets / "monitor.sock"):
        saved = await suspend.save(run, home, KEY)
    assert not (saved.path / "leftover").exists()
    assert saved.whole(KEY)


@pytest.mark.live
@pytest.mark.parametrize("monitor", [Monitor(fails=True), Monitor(refuses="migrate")])
async def test_a_vm_that_cannot_be_saved_runs_on_and_nothing_passes_for_its_memory(
    run: Run, home: Home, monitor: Monitor
) -> None:
    with pytest.raises(HypervisorError):
        async with monitor.listening(run.sockets / "monitor.sock"):
            await suspend.save(run, home, KEY)
    assert monitor.heard[-1] == "cont"
    assert not Saved(home.saved).whole(KEY)
