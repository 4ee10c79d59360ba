from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tachikoma.host import process
from tachikoma.host.clock import FakeClock
from tachikoma.hypervisor.port import Checkpoints
from tachikoma.hypervisor.qemu.checkpoints import (
    QemuCheckpoints,
    decode_checkpoints,
    info_argv,
    snapshot_argv,
)
from tachikoma.hypervisor.qemu.machine import Machine, Machines, Process, Run
from tachikoma.hypervisor.qemu.snapshot import Saved
from tachikoma.model.errors import (
    CheckpointError,
    DiskFullError,
    HypervisorError,
    VmNotFoundError,
)
from tachikoma.model.names import VmName
from tachikoma.model.vm import Checkpoint
from tests.doubles.guest_agent import GuestAgent
from tests.doubles.qmp import Monitor

VM = VmName("tachikoma-app-main")
MACHINE = Machine(VM, "u-1", "52:54:00:01:02:03", "debian", Path("/i/d"), "quiet", 1, 512)
DISK = Path("/data/vms/x/disk.qcow2")


@pytest.fixture
def machines(tmp_path: Path) -> Machines:
    """Have a VM that has never run."""
    made = Machines(directory=tmp_path / "vms", clock=FakeClock())
    made.home(VM).path.mkdir(parents=True)
    made.save(MACHINE)
    return made


@pytest.fixture
def kept(tmp_path: Path) -> QemuCheckpoints:
    return QemuCheckpoints(data=tmp_path, clock=FakeClock())


async def with_disk(machines: Machines) -> Path:
    disk = machines.home(VM).disk
    argv = ["qemu-img", "create", "-q", "-f", "qcow2", str(disk), "1M"]
    await process.run(argv, deadline_s=20)
    return disk


async def labels(kept: QemuCheckpoints) -> list[str]:
    return [each.label for each in await kept.checkpoints(VM)]


def running(machines: Machines, sockets: Path) -> Run:
    """Have this process pass for the VM's QEMU."""
    started = process.start_time(os.getpid())
    assert started is not None
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    run = Run(boot, sockets, Process(os.getpid(), started), ())
    return machines.note_port(VM, run, 50_022)


def test_a_disk_is_asked_about_even_while_it_is_in_use() -> None:
    assert info_argv("qemu-img", DISK) == [
        "qemu-img",
        "info",
        "--force-share",
        "--output=json",
        str(DISK),
    ]


@pytest.mark.parametrize("what", ["-c", "-a", "-d"])
def test_a_snapshot_is_named_after_what_is_done_with_it(what: str) -> None:
    assert snapshot_argv("qemu-img", what, "before", DISK) == [
        "qemu-img",
        "snapshot",
        "-q",
        what,
        "before",
        str(DISK),
    ]


def test_checkpoints_are_read_with_their_time_and_sorted_by_it() -> None:
    told = {
        "format": "qcow2",
        "snapshots": [
            {"id": "2", "name": "two", "date-sec": 20, "date-nsec": 0, "vm-state-size": 0},
            {"id": "1", "name": "one", "date-sec": 10, "date-nsec": 500_000_000},
        ],
    }
    assert decode_checkpoints(json.dumps(told).encode()) == [
        Checkpoint("one", 10.5),
        Checkpoint("two", 20.0),
    ]


@pytest.mark.parametrize("told", [b"{}", b'{"snapshots": []}'])
def test_a_disk_without_snapshots_has_no_checkpoints(told: bytes) -> None:
    assert decode_checkpoints(told) == []


def test_they_are_what_the_port_promises(kept: QemuCheckpoints) -> None:
    port: Checkpoints = kept
    assert callable(port.save_checkpoint)


async def test_what_is_not_there_has_none(kept: QemuCheckpoints) -> None:
    for ask in (
        kept.checkpoints(VM),
        kept.save_checkpoint(VM, "one"),
        kept.restore_checkpoint(VM, "one"),
        kept.delete_checkpoint(VM, "one"),
    ):
        with pytest.raises(VmNotFoundError, match=VM):
            await ask


async def test_a_vm_that_has_never_run_has_nothing_to_keep(
    machines: Machines, kept: QemuCheckpoints
) -> None:
    del machines
    assert await kept.checkpoints(VM) == []
    with pytest.raises(CheckpointError, match="has never run"):
        await kept.save_checkpoint(VM, "one")
    with pytest.raises(CheckpointError) as caught:
        await kept.restore_checkpoint(VM, "one")
    assert caught.value.hint == "it has none at all"


@pytest.mark.live
async def test_a_stopped_vm_goes_back_to_what_it_was(
    machines: Machines, kept: QemuCheckpoints
) -> None:
    disk = await with_disk(machines)
    write = ["qemu-io", "-c", "write -q -P {} 0 4k", str(disk)]
    for label, pattern in (("one", "1"), ("two", "2")):
        argv = [word.format(pattern) for word in write]
        await process.run(argv, deadline_s=20)
        await kept.save_checkpoint(VM, label)
    assert await labels(kept) == ["one", "two"]
    memory = Saved(machines.home(VM).saved)
    memory.path.mkdir()
    await kept.restore_checkpoint(VM, "one")
    read = await process.run(["qemu-io", "-c", "read -P 1 0 4k", str(disk)], deadline_s=20)
    assert b"Pattern verification failed" not in read.stdout
    assert not memory.path.exists()
    await kept.delete_checkpoint(VM, "one")
    assert await labels(kept) == ["two"]


@pytest.mark.live
async def test_a_label_is_there_once_and_one_that_is_not_is_told_with_the_others(
    machines: Machines, kept: QemuCheckpoints
) -> None:
    await with_disk(machines)
    await kept.save_checkpoint(VM, "one")
    with pytest.raises(CheckpointError, match="has a checkpoint one already"):
        await kept.save_checkpoint(VM, "one")
    for act in (kept.restore_checkpoint, kept.delete_checkpoint):
        with pytest.raises(CheckpointError, match="has no checkpoint two") as caught:
            await act(VM, "two")
        assert caught.value.hint == "it has: one"
    assert await labels(kept) == ["one"]


@pytest.mark.live
async def test_a_full_disk_is_an_error_that_names_it(
    machines: Machines, kept: QemuCheckpoints, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = await with_disk(machines)
    full = own_home / "bin" / "qemu-img"
    full.parent.mkdir()
    full.write_text(
        '#!/bin/sh\n[ "$1" = info ] && { echo "{}"; exit 0; }\n'
        "echo 'qemu-img: Could not create snapshot: No space left on device' >&2; exit 1\n"
    )
    full.chmod(0o755)
    monkeypatch.setenv("PATH", f"{full.parent}:{os.environ['PATH']}")
    with pytest.raises(DiskFullError, match=f"no space is left on the disk that holds {disk}"):
        await kept.save_checkpoint(VM, "one")


@pytest.mark.live
async def test_a_running_vm_writes_back_and_its_qemu_is_asked(
    machines: Machines, kept: QemuCheckpoints, own_home: Path
) -> None:
    await with_disk(machines)
    await kept.save_checkpoint(VM, "old")
    running(machines, own_home)
    monitor, agent = Monitor(), GuestAgent()
    async with (
        monitor.listening(own_home / "monitor.sock"),
        agent.listening(own_home / "agent.sock"),
    ):
        await kept.save_checkpoint(VM, "one")
        await kept.delete_checkpoint(VM, "old")
    assert [command[-1] for command in agent.commands] == ["/bin/sync"]
    assert monitor.arguments["blockdev-snapshot-internal-sync"] == [
        {"device": "disk", "name": "one"}
    ]
    assert monitor.arguments["blockdev-snapshot-delete-internal-sync"] == [
        {"device": "disk", "name": "old"}
    ]


@pytest.mark.live
async def test_a_vm_that_runs_is_not_taken_back_under_its_feet(
    machines: Machines, kept: QemuCheckpoints, own_home: Path
) -> None:
    await with_disk(machines)
    await kept.save_checkpoint(VM, "one")
    running(machines, own_home)
    with pytest.raises(HypervisorError, match="still runs"):
        await kept.restore_checkpoint(VM, "one")
