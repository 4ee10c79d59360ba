"""Going on from a golden snapshot by plain QEMU commands: the floor of a warm spawn."""

from __future__ import annotations

import shutil
import time
import uuid
from pathlib import Path

from tachikoma.host.clock import SystemClock, attempts
from tachikoma.host.process import detach, end_process, run, start_time
from tachikoma.hypervisor.qemu import kvm
from tachikoma.hypervisor.qemu.agent import Agent
from tachikoma.hypervisor.qemu.argv import MEMORY, overlay_argv, qemu_argv
from tachikoma.hypervisor.qemu.machine import Machine
from tachikoma.hypervisor.qemu.monitor import conversation
from tachikoma.hypervisor.qemu.power import AGENT, MONITOR, hardware_of
from tachikoma.hypervisor.qemu.probe import QEMU, program
from tachikoma.hypervisor.qemu.snapshot import Saved
from tachikoma.hypervisor.qemu.warming import Warming
from tachikoma.model.errors import HypervisorError
from tachikoma.model.names import VmName
from tachikoma.model.vm import Launch

_QUICK_S = 60.0
_MONITOR = "fd={monitor}"


def machine_of(image: Path, cmdline: str, cpus: int, memory_mib: int) -> Machine:
    """Give a machine like those that are spawned."""
    return Machine(
        name=VmName("bare"),
        uuid=str(uuid.uuid4()),
        mac="52:54:00:00:00:02",
        image="debian",
        base=image,
        cmdline=cmdline,
        cpus=cpus,
        memory_mib=memory_mib,
    )


async def snapshot_of(machine: Machine, base: Path) -> Saved:
    """Give the snapshot that a VM like ``machine`` goes on from; an image may have several.

    Raises:
        HypervisorError: there is none.
    """
    known = Warming(
        data=base, runtime=base, verdict=base / "kvm.json", clock=SystemClock(), programs=()
    )
    if (found := await known.find(machine)) is None:
        raise HypervisorError("there is no snapshot", hint="`tachikoma image warm` makes one")
    return found


async def bare_restore(machine: Machine, base: Path) -> float:
    """Copy the memory, make a disk, start QEMU, restore, go on: until the guest's agent answers."""
    saved, place = await snapshot_of(machine, base), base / "bare"
    place.mkdir()
    accelerator = (await kvm.verdict(program(QEMU), base / "kvm.json")).accelerator
    hardware = hardware_of(machine, Launch(), place, accelerator)
    argv = [
        part.replace(MEMORY, str(place / "memory"))
        .replace(_MONITOR, f"path={place / MONITOR}")
        .replace('"disk.qcow2"', f'"{place}/disk.qcow2"')
        .replace("console.log", f"{place}/console.log")
        for part in [*qemu_argv(program(QEMU), hardware), "-S", "-incoming", "defer"]
    ]
    began = time.perf_counter()
    await run(
        ["cp", "--sparse=always", str(saved.memory), str(place / "memory")], deadline_s=_QUICK_S
    )
    overlay = overlay_argv("qemu-img", saved.disk, place / "disk.qcow2")
    await run(overlay, deadline_s=_QUICK_S)
    pid = detach(argv, log=base / "bare.log")
    started = start_time(pid)
    clock = SystemClock()
    try:
        async for _ in attempts(clock, deadline_s=_QUICK_S, first_s=0.005, most_s=0.02):
            if (place / MONITOR).exists():
                break
        async with conversation(place / MONITOR, deadline_s=_QUICK_S) as monitor:
            await monitor.load(saved.state)
            await monitor.go_on()
        if not await Agent(socket=place / AGENT, clock=clock).answers(deadline_s=_QUICK_S):
            raise HypervisorError(
                "the snapshot does not go on", details=(base / "bare.log").read_text()
            )
        return time.perf_counter() - began
    finally:
        end_process(pid, started=started, grace_s=0)
        shutil.rmtree(place)
