"""Making golden snapshots: the machines that new VMs go on from."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import platform
import shutil
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

from tachikoma.host import files, process
from tachikoma.host.clock import Clock, attempts
from tachikoma.host.paths import private_dir
from tachikoma.hypervisor.qemu import guest_exec, kvm
from tachikoma.hypervisor.qemu.agent import Agent
from tachikoma.hypervisor.qemu.argv import overlay_argv, qemu_argv
from tachikoma.hypervisor.qemu.machine import Home, Machine, Machines, Run
from tachikoma.hypervisor.qemu.monitor import conversation
from tachikoma.hypervisor.qemu.power import AGENT, MONITOR, Power, hardware_of
from tachikoma.hypervisor.qemu.probe import QEMU, program
from tachikoma.hypervisor.qemu.snapshot import Saved, Snapshots, save_memory
from tachikoma.model.errors import DiskFullError, HypervisorError
from tachikoma.model.events import Report, StepEnded, StepProgress, StepStarted
from tachikoma.model.names import VmName
from tachikoma.model.vm import GuestCommand, Launch

_NOBODY = VmName("golden")
_MAC = "52:54:00:00:00:01"
_BOOT_S = 120.0
_PREPARE_S = 90.0
_SAVE_S = 60.0
_LOCK_S = 300.0
_AGENT_S = 1.0
_OVERLAY_S = 30.0
_MIB = 1 << 20
_NEEDED_MIB = 1024
_BIRTH = Path(__file__).with_name("birth.py")
_PYTHON = ("/usr/bin/python3", "-I", "-S", "-c")


class Warming:
    """Makes and finds the snapshots that new VMs start from.

    ``data`` holds the images, ``runtime`` the sockets, ``verdict`` what is known about KVM.
    ``programs`` are Python for the guest that new VMs will be asked to run.
    """

    def __init__(
        self,
        *,
        data: Path,
        runtime: Path,
        verdict: Path,
        clock: Clock,
        programs: tuple[str, ...],
    ) -> None:
        self._programs = programs
        self._data = data
        self._runtime = runtime
        self._verdict = verdict
        self._clock = clock

    async def key(self, machine: Machine) -> str:
        """Give what a snapshot and a machine that goes on from it must have in common."""
        qemu = program(QEMU)
        accelerator = (await kvm.verdict(qemu, self._verdict)).accelerator
        nobody = replace(machine, name=_NOBODY, uuid=str(uuid.UUID(int=0)), mac=_MAC)
        argv = qemu_argv(qemu, hardware_of(nobody, Launch(), Path("/"), accelerator))
        seen = Path(qemu).stat()
        parts = [*argv, f"{seen.st_size} {seen.st_mtime_ns}", platform.machine()]
        parts.append(_BIRTH.read_text(encoding="utf-8"))
        if accelerator is accelerator.KVM:
            parts += [platform.release(), _processor()]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]

    async def find(self, machine: Machine) -> Saved | None:
        """Give the snapshot from which ``machine`` can start, if there is one."""
        return Snapshots(machine.base).find(await self.key(machine))

    async def warm(self, machine: Machine, report: Report) -> Saved:
        """Give the snapshot for machines like ``machine``, made first if need be.

        Raises:
            HypervisorError: the golden machine did not get there; nothing is left behind.
            DiskFullError: there is too little space for it.
        """
        key = await self.key(machine)
        snapshots = Snapshots(machine.base)
        if (found := snapshots.find(key)) is not None:
            return found
        private_dir(snapshots.path)
        async with self._alone(snapshots, report):
            if (found := snapshots.find(key)) is not None:
                return found
            began = self._clock.monotonic()
            report(StepStarted("warm", "making the snapshot that new VMs start from"))
            saved = await self._make(machine, snapshots, key, report)
            snapshots.thin_out(used=self.used())
            report(StepEnded("warm", self._clock.monotonic() - began))
            return saved

    def used(self) -> list[Path]:
        """List the snapshots on whose disks VMs stand."""
        machines = Machines(directory=self._data / "vms", clock=self._clock)
        found = []
        for name in machines.names():
            with contextlib.suppress(HypervisorError):
                machine = machines.load(name)
                if machine is not None and machine.snapshot is not None:
                    found.append(machine.snapshot)
        return found

    async def _make(
        self, machine: Machine, snapshots: Snapshots, key: str, report: Report
    ) -> Saved:
        free = shutil.disk_usage(snapshots.path).free // _MIB
        if free < _NEEDED_MIB:
            raise DiskFullError(
                f"a snapshot takes up to {_NEEDED_MIB} MiB, and {free} MiB are left",
                hint="new VMs start by booting as long as that is so",
            )
        machines = Machines(directory=snapshots.path / ".making", clock=self._clock)
        power = Power(
            machines=machines, runtime=self._runtime, verdict=self._verdict, clock=self._clock
        )
        name = VmName(f"golden-{key}")
        golden = replace(machine, name=name, uuid=str(uuid.UUID(int=0)), mac=_MAC, fresh=False)
        await self._clear_away(machines, power, name)
        try:
            async with machines.claimed(name, make=True) as home:
                overlay = overlay_argv(program("qemu-img"), machine.base / "disk.qcow2", home.disk)
                await process.run(overlay, deadline_s=_OVERLAY_S)
                machines.save(golden)
            report(StepProgress("booting it"))
            await power.on(golden, Launch(), tied=True)
            run = machines.running(name)
            if run is None:
                raise HypervisorError("the golden machine ended", hint=f"see {home.log}")
            await self._prepare(run, report)
            report(StepProgress("saving its memory"))
            made = await self._save(run, home)
            await power.off(name, grace_s=0)
            home.disk.replace(made.disk)
            return snapshots.publish(made.path, key, used=self.used())
        finally:
            await asyncio.shield(self._clear_away(machines, power, name))

    async def _prepare(self, run: Run, report: Report) -> None:
        agent = Agent(socket=run.sockets / AGENT, clock=self._clock)
        async for _ in attempts(self._clock, deadline_s=_BOOT_S, most_s=0.25):
            if await agent.answers(deadline_s=_AGENT_S):
                break
            if not run.qemu.lives():
                break
        report(StepProgress("letting it settle"))
        script = _BIRTH.read_text(encoding="utf-8")
        programs = json.dumps(self._programs).encode()
        command = GuestCommand((*_PYTHON, script), stdin=programs, deadline_s=_PREPARE_S)
        ended = await guest_exec.execute(agent, command, None, self._clock)
        if ended.status != 0:
            raise HypervisorError(
                "the golden machine could not be prepared",
                hint="new VMs start by booting as long as that is so",
                details=(ended.stdout + ended.stderr).decode("utf-8", "replace"),
            )

    async def _save(self, run: Run, home: Home) -> Saved:
        made = Saved(home.path / "made")
        with files.translated(made.path):
            made.path.mkdir(mode=0o700)
        async with conversation(run.sockets / MONITOR, deadline_s=_SAVE_S) as monitor:
            await monitor.pause()
            await monitor.save(made.state)
            await asyncio.to_thread(save_memory, memory_of(run), made.memory)
        return made

    async def _clear_away(self, machines: Machines, power: Power, name: VmName) -> None:
        """Remove what this making, or one that was ended, has left."""
        await power.off(name, grace_s=0)
        if machines.home(name).path.is_dir():
            async with machines.claimed(name) as home:
                machines.remove(home)
        power.clear_sockets(name)

    @contextlib.asynccontextmanager
    async def _alone(self, snapshots: Snapshots, report: Report) -> AsyncIterator[None]:
        told = False
        async for _ in attempts(self._clock, deadline_s=_LOCK_S):
            with contextlib.ExitStack() as held:
                try:
                    held.enter_context(files.locked(snapshots.path / ".lock", deadline_s=0))
                except TimeoutError:
                    if not told:
                        report(StepProgress("waiting for another command that makes a snapshot"))
                    told = True
                    continue
                yield
                return
        raise HypervisorError(
            "another command is still making a snapshot", hint="wait for it, or end it"
        )


def memory_of(run: Run) -> Path:
    """Say where the memory of a running VM can be read."""
    return Path(f"/proc/{run.qemu.pid}/fd/{run.memory}")


def _processor() -> str:
    """Give what KVM shows to guests of this host's processor."""
    told: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, value = line.partition(":")
        told.setdefault(name.strip(), value.strip())
    return " ".join(told.get(name, "") for name in ("model name", "stepping", "microcode", "flags"))
