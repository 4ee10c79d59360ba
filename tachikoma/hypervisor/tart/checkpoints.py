"""Checkpoints on Tart: copies of a stopped VM, which share with it on the disk what is the same.

Each is a VM of Tart's by a name that is none of a branch's VM, and never an image. It is on record
before Tart is asked to make it, and as made when it is: a half-made one is no checkpoint.
"""

from __future__ import annotations

import contextlib

from tachikoma.host.clock import Clock
from tachikoma.hypervisor.tart import argv
from tachikoma.hypervisor.tart.catalogue import checkpoint_name
from tachikoma.hypervisor.tart.engine import Tart
from tachikoma.hypervisor.tart.program import Program
from tachikoma.hypervisor.tart.records import Kept, Record, Records
from tachikoma.model.errors import CheckpointError, HypervisorError, VmNotFoundError
from tachikoma.model.names import VmName
from tachikoma.model.vm import Checkpoint, VmState

_COPY_S = 600.0


class TartCheckpoints:
    """Checkpoints of the VMs of ``engine``; see ``Checkpoints`` for what its methods promise."""

    def __init__(self, *, engine: Tart, program: Program, records: Records, clock: Clock) -> None:
        self._engine = engine
        self._program = program
        self._records = records
        self._clock = clock

    async def checkpoints(self, vm: VmName) -> list[Checkpoint]:
        """List those of ``vm``, oldest first."""
        made = [each for each in self._records.kept(vm) if each.made]
        found = [Checkpoint(each.label, each.created) for each in made]
        return sorted(found, key=lambda checkpoint: checkpoint.created)

    async def save_checkpoint(self, vm: VmName, label: str) -> None:
        """Copy ``vm``, which must be stopped: Tart copies no disk that is written to."""
        await self._check_stopped(vm)
        if label in {each.label for each in await self.checkpoints(vm)}:
            raise CheckpointError(
                f"{vm} has a checkpoint {label} already",
                hint=f"choose another name, or `tachikoma checkpoint delete {vm} {label}`",
            )
        copy = checkpoint_name(vm, label)
        kept = Kept(label, self._clock.now(), made=False)
        with self._records.making(vm):
            self._records.keep(vm, kept)
            await self._remove(copy)  # what a making that was killed has left
            await self._program.text(argv.clone_argv(vm, copy), deadline_s=_COPY_S)
            self._records.keep(vm, Kept(label, kept.created, made=True))

    async def restore_checkpoint(self, vm: VmName, label: str) -> None:
        """Put a copy of the checkpoint in the VM's place; killed meanwhile, it can be repeated."""
        await self._check_known(vm, label)
        await self._check_stopped(vm)
        record = self._records.load(vm)
        image = record.image if record is not None else ""
        with self._records.making(vm):
            self._records.save(vm, Record(image=image, made=False))
            await self._remove(vm)
            await self._program.text(
                argv.clone_argv(checkpoint_name(vm, label), vm), deadline_s=_COPY_S
            )
            await self._program.text(argv.renew_mac_argv(vm))
            self._records.save(vm, Record(image=image, made=True))

    async def delete_checkpoint(self, vm: VmName, label: str) -> None:
        """Remove the copy."""
        await self._check_known(vm, label)
        with self._records.making(vm):
            await self._remove(checkpoint_name(vm, label))
            self._records.unkeep(vm, label)

    async def _remove(self, name: VmName) -> None:
        with contextlib.suppress(VmNotFoundError):
            await self._program.text(argv.delete_argv(name))

    async def _check_stopped(self, vm: VmName) -> None:
        info = await self._engine.find(vm)
        if info is not None and info.state is not VmState.STOPPED:
            raise HypervisorError(
                f"Tart copies {vm} only while it is stopped",
                hint=f"`tachikoma halt {vm}` first",
            )

    async def _check_known(self, vm: VmName, label: str) -> None:
        found = [each.label for each in await self.checkpoints(vm)]
        if label not in found:
            raise CheckpointError(
                f"{vm} has no checkpoint {label}",
                hint=f"it has: {', '.join(found)}" if found else "it has none at all",
            )
