from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tachikoma.host.clock import FakeClock
from tachikoma.hypervisor.qemu.machine import Machine, Machines, Process, Run
from tachikoma.hypervisor.qemu.snapshot import Saved, Snapshots
from tachikoma.hypervisor.qemu.warming import Warming, memory_of
from tachikoma.model.errors import CommandFailed, HypervisorError
from tachikoma.model.events import Event, StepProgress, silent
from tachikoma.model.names import VmName

pytestmark = pytest.mark.live

VM = VmName("tachikoma-app-main")
MACHINE = Machine(VM, "u-1", "52:54:00:01:02:03", "debian", Path("/i/d"), "quiet", 4, 8192)


@pytest.fixture
def qemu(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program that passes for QEMU as long as nobody starts it."""
    path = own_home / "bin" / "qemu-system-x86_64"
    path.parent.mkdir()
    path.write_text("#!/bin/false\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")
    return path


@pytest.fixture
def warming(tmp_path: Path, qemu: Path) -> Warming:
    del qemu
    return Warming(
        data=tmp_path,
        runtime=tmp_path / "r",
        verdict=tmp_path / "kvm.json",
        clock=FakeClock(),
        programs=(),
    )


def with_snapshot(tmp_path: Path, key: str) -> Saved:
    made = Saved(tmp_path / "made")
    made.path.mkdir()
    for part in (made.memory, made.state, made.disk):
        part.write_bytes(b"x")
    snapshots = Snapshots(tmp_path / "image")
    snapshots.path.mkdir(parents=True)
    return snapshots.publish(made.path, key)


async def test_the_key_is_that_of_the_kind_of_machine_and_not_of_the_vm(warming: Warming) -> None:
    key = await warming.key(MACHINE)
    other = replace(MACHINE, name=VmName("x"), uuid="u-2", mac="52:54:00:09:09:09", fresh=True)
    assert await warming.key(other) == key
    assert await warming.key(replace(MACHINE, snapshot=Path("/s"), image="alias")) == key


@pytest.mark.parametrize(
    "other",
    [
        replace(MACHINE, cpus=2),
        replace(MACHINE, memory_mib=4096),
        replace(MACHINE, cmdline="quiet splash"),
        replace(MACHINE, base=Path("/i/e")),
    ],
)
async def test_another_kind_of_machine_has_another_key(warming: Warming, other: Machine) -> None:
    assert await warming.key(other) != await warming.key(MACHINE)


def grow(qemu: Path) -> None:
    qemu.write_text("#!/bin/true \n")


def touch(qemu: Path) -> None:
    os.utime(qemu, (1, 1))


@pytest.mark.parametrize("change", [grow, touch])
async def test_another_qemu_has_another_key(
    warming: Warming, qemu: Path, change: Callable[[Path], None]
) -> None:
    before = await warming.key(MACHINE)
    change(qemu)
    assert await warming.key(MACHINE) != before


async def test_a_whole_snapshot_is_taken_as_it_is(warming: Warming, tmp_path: Path) -> None:
    machine = replace(MACHINE, base=tmp_path / "image")
    assert await warming.find(machine) is None
    made = with_snapshot(tmp_path, await warming.key(machine))
    assert await warming.find(machine) == made
    assert await warming.warm(machine, silent) == made
    os.truncate(made.memory, 0)
    assert await warming.find(machine) is None


def held(path: Path) -> int:
    """Lock a file as another command would; closing what this gives lets go of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


async def test_one_that_another_command_makes_is_waited_for(
    warming: Warming, tmp_path: Path
) -> None:
    machine = replace(MACHINE, base=tmp_path / "image")
    made = with_snapshot(tmp_path, await warming.key(machine))
    about = made.about.read_bytes()
    made.about.unlink()
    lock = held(tmp_path / "image" / "snapshots" / ".lock")
    heard: list[Event] = []

    def finish(event: Event) -> None:
        heard.append(event)
        made.about.write_bytes(about)
        os.close(lock)

    assert await warming.warm(machine, finish) == made
    assert heard == [StepProgress("waiting for another command that makes a snapshot")]


async def test_another_command_that_never_ends_is_not_waited_for_for_ever(
    warming: Warming, tmp_path: Path
) -> None:
    lock = held(tmp_path / "image" / "snapshots" / ".lock")
    with pytest.raises(HypervisorError, match="another command is still making a snapshot"):
        await warming.warm(replace(MACHINE, base=tmp_path / "image"), silent)
    os.close(lock)


async def test_a_golden_machine_that_cannot_be_made_leaves_nothing(
    warming: Warming, tmp_path: Path, qemu: Path
) -> None:
    image = qemu.with_name("qemu-img")
    image.write_text("#!/bin/sh\necho no such disk >&2\nexit 1\n")
    image.chmod(0o755)
    with pytest.raises(CommandFailed, match="qemu-img"):
        await warming.warm(replace(MACHINE, base=tmp_path / "image"), silent)
    left = [path.name for path in (tmp_path / "image" / "snapshots").rglob("*")]
    assert sorted(left) == [".lock", ".making"]


async def test_snapshots_are_in_use_as_long_as_a_vm_stands_on_them(
    warming: Warming, tmp_path: Path
) -> None:
    machines = Machines(directory=tmp_path / "vms", clock=FakeClock())
    assert warming.used() == []
    for name, snapshot in (("a", Path("/s/a")), ("b", None), ("c", Path("/s/c"))):
        vm = VmName(f"tachikoma-app-{name}")
        async with machines.claimed(vm, make=True):
            machines.save(replace(MACHINE, name=vm, snapshot=snapshot))
    machines.home(VmName("tachikoma-app-c")).machine.write_text("{")
    assert warming.used() == [Path("/s/a")]


def test_the_memory_of_a_vm_is_found_by_its_number() -> None:
    run = Run("boot", Path("/s"), Process(42, "1"), (), memory=7)
    assert memory_of(run) == Path("/proc/42/fd/7")
