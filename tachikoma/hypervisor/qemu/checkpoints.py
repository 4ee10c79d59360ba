"""Checkpoints: snapshots that a VM's disk file keeps inside, taken while it runs or not."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from tachikoma.host import process
from tachikoma.host.clock import Clock
from tachikoma.hypervisor.qemu import guest_exec
from tachikoma.hypervisor.qemu.agent import Agent
from tachikoma.hypervisor.qemu.machine import Home, Machines, Run
from tachikoma.hypervisor.qemu.monitor import conversation
from tachikoma.hypervisor.qemu.power import AGENT, MONITOR
from tachikoma.hypervisor.qemu.probe import program
from tachikoma.hypervisor.qemu.snapshot import Saved
from tachikoma.model.errors import (
    AgentError,
    CheckpointError,
    CommandFailed,
    DiskFullError,
    HypervisorError,
    VmNotFoundError,
)
from tachikoma.model.names import VmName
from tachikoma.model.vm import Checkpoint, GuestCommand

_TAKE_S = 120.0
_SYNC_S = 30.0


class QemuCheckpoints:
    """Checkpoints of the VMs below ``data``; see ``Checkpoints`` for what its methods promise."""

    def __init__(self, *, data: Path, clock: Clock) -> None:
        self._machines = Machines(directory=data / "vms", clock=clock)
        self._clock = clock

    async def checkpoints(self, vm: VmName) -> list[Checkpoint]:
        """List those of ``vm``, oldest first."""
        disk = self._home(vm).disk
        if not disk.exists():
            return []
        argv = info_argv(program("qemu-img"), disk)
        told = (await process.run(argv, deadline_s=_TAKE_S)).stdout
        return decode_checkpoints(told)

    async def save_checkpoint(self, vm: VmName, label: str) -> None:
        """Keep the disk of ``vm`` as it is now. A running guest first writes what it holds back."""
        home, machine = self._home(vm), self._machines.load(vm)
        if machine is None or machine.fresh or not home.disk.exists():
            raise CheckpointError(f"{vm} has never run", hint="there is nothing to keep yet")
        if label in {each.label for each in await self.checkpoints(vm)}:
            raise CheckpointError(
                f"{vm} has a checkpoint {label} already",
                hint=f"choose another name, or `tachikoma checkpoint delete {vm} {label}`",
            )
        run = self._machines.running(vm)
        if run is None:
            await self._on_file(vm, "-c", label)
            return
        await self._write_back(run)
        async with conversation(run.sockets / MONITOR, deadline_s=_TAKE_S) as monitor:
            await monitor.take_disk_snapshot(label)

    async def restore_checkpoint(self, vm: VmName, label: str) -> None:
        """Make the disk of a stopped VM what it was then; a kept memory would not fit it."""
        await self._known(vm, label)
        if self._machines.alive(vm) is not None:
            raise HypervisorError(f"the VM {vm} still runs", hint="stop it: `tachikoma halt`")
        Saved(self._home(vm).saved).remove()
        await self._on_file(vm, "-a", label)

    async def delete_checkpoint(self, vm: VmName, label: str) -> None:
        """Let go of one."""
        await self._known(vm, label)
        run = self._machines.running(vm)
        if run is None:
            await self._on_file(vm, "-d", label)
            return
        async with conversation(run.sockets / MONITOR, deadline_s=_TAKE_S) as monitor:
            await monitor.delete_disk_snapshot(label)

    def _home(self, vm: VmName) -> Home:
        if self._machines.load(vm) is None:
            raise VmNotFoundError(f"there is no VM {vm}", hint="`tachikoma list` shows all VMs")
        return self._machines.home(vm)

    async def _known(self, vm: VmName, label: str) -> None:
        found = [each.label for each in await self.checkpoints(vm)]
        if label not in found:
            raise CheckpointError(
                f"{vm} has no checkpoint {label}",
                hint=f"it has: {', '.join(found)}" if found else "it has none at all",
            )

    async def _write_back(self, run: Run) -> None:
        agent = Agent(socket=run.sockets / AGENT, clock=self._clock)
        with contextlib.suppress(AgentError):  # then it is as after a power cut, which is enough
            command = GuestCommand(("/bin/sync",), deadline_s=_SYNC_S)
            await guest_exec.execute(agent, command, None, self._clock)

    async def _on_file(self, vm: VmName, what: str, label: str) -> None:
        async with self._machines.claimed(vm) as home:
            argv = snapshot_argv(program("qemu-img"), what, label, home.disk)
            try:
                await process.run(argv, deadline_s=_TAKE_S)
            except CommandFailed as error:
                if "No space left" not in error.stderr:
                    raise
                raise DiskFullError(
                    f"no space is left on the disk that holds {home.disk}",
                    hint="free some space (`tachikoma list` shows what each VM takes)",
                ) from error


def info_argv(program: str, disk: Path) -> list[str]:
    """Give the command line that tells about a disk, in use or not."""
    return [program, "info", "--force-share", "--output=json", str(disk)]


def snapshot_argv(program: str, what: str, label: str, disk: Path) -> list[str]:
    """Give the command line that takes (-c), goes back to (-a) or deletes (-d) a snapshot."""
    return [program, "snapshot", "-q", what, label, str(disk)]


def decode_checkpoints(told: bytes) -> list[Checkpoint]:
    """Read what ``qemu-img info`` says (pure), oldest first."""
    found = [
        Checkpoint(str(each["name"]), float(each["date-sec"]) + float(each["date-nsec"]) / 1e9)
        for each in json.loads(told).get("snapshots", [])
    ]
    return sorted(found, key=lambda checkpoint: checkpoint.created)
