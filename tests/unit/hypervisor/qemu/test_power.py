from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tachikoma.host import process
from tachikoma.host.clock import FakeClock, SystemClock
from tachikoma.hypervisor.qemu.argv import Accelerator, Share, Wiring
from tachikoma.hypervisor.qemu.machine import (
    Home,
    Machine,
    Machines,
    Process,
    Run,
    boot_id,
    encode_machine,
    encode_run,
    socket_directory,
)
from tachikoma.hypervisor.qemu.power import Power, hardware_of
from tachikoma.model.errors import HypervisorError
from tachikoma.model.names import VmName
from tachikoma.model.vm import Launch, Mount, Network
from tests.waiting import until

VM = VmName("tachikoma-app-main")
SOON_S = 30.0
MACHINE = Machine(VM, "u-1", "52:54:00:01:02:03", "debian", Path("/i/d"), "quiet", 4, 8192)


def power_at(tmp_path: Path, runtime: Path) -> tuple[Power, Machines]:
    clock = SystemClock()
    machines = Machines(directory=tmp_path / "vms", clock=clock)
    power = Power(machines=machines, runtime=runtime, verdict=tmp_path / "kvm.json", clock=clock)
    return power, machines


def test_hardware_is_the_machine_with_its_image_and_mounts() -> None:
    launch = Launch(mounts=(Mount("code", Path("/src")),), network=Network.OPEN)
    hardware = hardware_of(MACHINE, launch, Path("/run/s"), Accelerator.TCG)
    assert hardware.kernel == Path("/i/d/vmlinuz")
    assert hardware.initrd == Path("/i/d/initrd.img")
    assert (hardware.cpus, hardware.memory_mib, hardware.mac) == (4, 8192, MACHINE.mac)
    assert hardware.wiring == Wiring(Network.OPEN, None, "")
    assert hardware.shares == (Share("code", Path("/run/s/share0.sock")),)


async def test_switching_off_what_never_ran_does_nothing(tmp_path: Path) -> None:
    power, _ = power_at(tmp_path, tmp_path / "run")
    await power.off(VM, grace_s=10)
    assert list(tmp_path.iterdir()) == []


async def test_a_start_that_does_not_get_on_is_told_when_switching_off(tmp_path: Path) -> None:
    machines = Machines(directory=tmp_path / "vms", clock=FakeClock())
    power = Power(
        machines=machines, runtime=tmp_path / "r", verdict=tmp_path / "v", clock=FakeClock()
    )
    async with machines.claimed(VM, make=True):
        with pytest.raises(HypervisorError, match="another process is making"):
            await power.off(VM, grace_s=0)


def waiting(qemu: Process, starter: Process, sockets: Path) -> str:
    run = Run(boot_id(), sockets, qemu, (), memory=3, waiting=True, starter=starter)
    return json.dumps(encode_run(run))


def this_process() -> Process:
    return Process(os.getpid(), process.start_time(os.getpid()) or "")


async def test_what_another_command_restores_is_left_to_it(tmp_path: Path) -> None:
    power, machines = power_at(tmp_path, tmp_path / "run")
    await power.end_abandoned(VM)
    async with machines.claimed(VM, make=True) as home:
        home.run.write_text(waiting(this_process(), this_process(), tmp_path))
    with pytest.raises(HypervisorError, match="another process is making, running"):
        await power.end_abandoned(VM)


@pytest.mark.live
async def test_what_waits_for_a_command_that_was_ended_is_ended(tmp_path: Path) -> None:
    power, machines = power_at(tmp_path, tmp_path / "run")
    pid = process.detach(["sleep", "60"], log=tmp_path / "log", cwd=tmp_path)
    qemu = Process(pid, process.start_time(pid) or "")
    async with machines.claimed(VM, make=True) as home:
        home.run.write_text(waiting(qemu, Process(pid, "another"), tmp_path / "sockets"))
    assert machines.alive(VM) is not None
    await power.end_abandoned(VM)
    assert not qemu.lives()
    assert machines.left_over(VM) is None


@pytest.mark.live
async def test_a_vm_is_known_to_be_starting_before_its_launcher_has_done_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = tmp_path / "r"
    power, machines = power_at(tmp_path, runtime)
    async with machines.claimed(VM, make=True) as home:
        home.run.write_text(waiting(Process(1, "another"), this_process(), tmp_path))  # over
    async with launching(power, home, monkeypatch) as launcher:
        assert machines.starting(VM)
        assert machines.left_over(VM) is None
    assert process.start_time(launcher) is None
    assert not machines.starting(VM)
    assert list(runtime.iterdir()) == []


@pytest.mark.live
async def test_a_start_whose_vm_is_deleted_meanwhile_leaves_nothing_that_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    power, machines = power_at(tmp_path, tmp_path / "r")
    async with machines.claimed(VM, make=True) as home:
        pass
    async with launching(power, home, monkeypatch) as launcher:
        machines.remove(home)
    assert process.start_time(launcher) is None
    assert not home.path.exists()


@contextlib.asynccontextmanager
async def launching(
    power: Power, home: Home, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[int]:
    """Start the VM with a launcher that only sleeps, and give its id; cancelled in the end."""
    told = home.path.parent / "launcher"
    slow = home.path.parent / "slow.py"
    say = f"open({str(told)!r}, 'w').write(str(os.getpid()) + '.')"
    slow.write_text(f"import os, time\n{say}\ntime.sleep(60)\n")
    monkeypatch.setattr("tachikoma.hypervisor.qemu.power.LAUNCHER", slow)
    home.machine.write_text(json.dumps(encode_machine(MACHINE)))
    starting = asyncio.create_task(power.on(MACHINE, Launch()))
    try:
        await until(lambda: told.exists() and "." in told.read_text(), deadline_s=SOON_S)
        yield int(told.read_text().rstrip("."))
    finally:
        starting.cancel()
        await asyncio.wait([starting], timeout=SOON_S)
    assert starting.cancelled()


@pytest.mark.live
async def test_who_starts_a_vm_that_another_one_keeps_is_told(tmp_path: Path) -> None:
    clock = FakeClock()
    machines = Machines(directory=tmp_path / "vms", clock=clock)
    power = Power(machines=machines, runtime=tmp_path / "r", verdict=tmp_path / "v", clock=clock)
    async with machines.claimed(VM, make=True) as home:
        with pytest.raises(HypervisorError, match="another process is making"):
            await power.on(MACHINE, Launch())
        assert not home.log.exists()


async def test_sockets_of_a_stopped_vm_go_away_with_its_record(tmp_path: Path) -> None:
    power, machines = power_at(tmp_path, tmp_path / "run")
    sockets = socket_directory(tmp_path / "run", VM)
    sockets.mkdir(parents=True)
    (sockets / "agent.sock").touch()
    async with machines.claimed(VM, make=True) as home:
        home.run.write_text("{}")
    power.clear_sockets(VM)
    assert not sockets.exists()
    assert not home.run.exists()


@pytest.mark.live
async def test_a_path_too_long_for_a_socket_is_named_before_anything_starts(
    tmp_path: Path,
) -> None:
    power, machines = power_at(tmp_path, tmp_path / ("long" * 20))
    async with machines.claimed(VM, make=True):
        machines.save(MACHINE)
    with pytest.raises(HypervisorError, match="too long for a socket"):
        await power.on(MACHINE, Launch())
    assert machines.running(VM) is None
