"""Checkpoints as a user has them: named restore points of a VM's disk."""

from __future__ import annotations

import re

from tachikoma.model.errors import CheckpointError, UnsupportedError, VmStateError
from tachikoma.model.events import Report, StepEnded, StepStarted
from tachikoma.model.names import VmName
from tachikoma.vm import sighting
from tachikoma.vm.finding import find_vm
from tachikoma.vm.lifecycle import Goal, Phase, Step, decide
from tachikoma.vm.ports import Ports
from tachikoma.vm.requests import (
    CheckpointOutcome,
    CheckpointRequest,
    CheckpointsOutcome,
    CheckpointsRequest,
)

_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LOCK_DEADLINE_S = 900.0


class Keeping:
    """Saves, lists, restores and deletes checkpoints."""

    def __init__(self, *, ports: Ports) -> None:
        self._ports = ports

    async def save(self, request: CheckpointRequest, report: Report) -> CheckpointOutcome:
        """Keep the disk of a VM as it is now, running or not.

        Raises:
            VmNotFoundError: no VM of that name or branch.
            CheckpointError: a bad label, or one that is there already.
            UnsupportedError: the engine has no checkpoints.
        """
        return await self._act("save", "Keeping the disk as it is", request, report)

    async def restore(self, request: CheckpointRequest, report: Report) -> CheckpointOutcome:
        """Make the disk what it was; a VM that runs is stopped. The worktree stays as it is.

        Raises:
            VmNotFoundError, UnsupportedError: as ``save``.
            CheckpointError: there is none of that label; the VM runs on.
            VmStateError: the engine says something that we do not know; nothing was done.
        """
        return await self._act("restore", "Going back", request, report)

    async def delete(self, request: CheckpointRequest, report: Report) -> CheckpointOutcome:
        """Let go of a checkpoint.

        Raises:
            VmNotFoundError, UnsupportedError: as ``save``.
            CheckpointError: there is none of that label.
        """
        return await self._act("delete", "Letting go of it", request, report)

    async def all(self, request: CheckpointsRequest, report: Report) -> CheckpointsOutcome:
        """List the checkpoints of a VM.

        Raises:
            VmNotFoundError, UnsupportedError: as ``save``.
        """
        del report
        known = await find_vm(self._ports, request.target)
        self._check_feature()
        found = await self._ports.checkpoints.checkpoints(known.name)
        return CheckpointsOutcome(known.name, known.branch, tuple(found))

    async def _act(
        self, what: str, words: str, request: CheckpointRequest, report: Report
    ) -> CheckpointOutcome:
        ports, label = self._ports, checked(request.label)
        known = await find_vm(ports, request.target)
        self._check_feature()
        vm, halted = known.name, False
        async with ports.store.hold(vm, "checkpoint", report=report, deadline_s=_LOCK_DEADLINE_S):
            if what != "save":
                await self._check_there(known.name, label)
            if what == "restore":
                halted = await self._stop(vm)
            began = ports.clock.monotonic()
            report(StepStarted(what, words))
            match what:
                case "save":
                    await ports.checkpoints.save_checkpoint(vm, label)
                case "restore":
                    await ports.checkpoints.restore_checkpoint(vm, label)
                case _:
                    await ports.checkpoints.delete_checkpoint(vm, label)
            report(StepEnded(what, ports.clock.monotonic() - began))
        worktree = known.record.worktree if known.record else None
        return CheckpointOutcome(vm, known.branch, label, worktree, halted)

    async def _stop(self, vm: VmName) -> bool:
        """Have nothing of a VM run or kept in memory; tell whether it ran."""
        hypervisor = self._ports.hypervisor
        phase = await sighting.roughly(hypervisor, vm)
        match decide(Goal.STOPPED, phase):
            case Step.DONE:
                pass
            case Step.STOP:
                await hypervisor.stop(vm, grace_s=0)  # what it has not written is given up
            case _:
                raise VmStateError(
                    f"{vm} is in a state that tachikoma does not know",
                    hint=f"nothing was done; see {hypervisor.log_of(vm)}",
                )
        return phase is Phase.BOOTING

    async def _check_there(self, vm: VmName, label: str) -> None:
        found = [each.label for each in await self._ports.checkpoints.checkpoints(vm)]
        if label not in found:
            raise CheckpointError(
                f"{vm} has no checkpoint {label}",
                hint=f"it has: {', '.join(found)}" if found else "it has none at all",
            )

    def _check_feature(self) -> None:
        can = self._ports.hypervisor.features.checkpoints
        if not can.available:
            raise UnsupportedError("there are no checkpoints with this engine", hint=can.why)


def checked(label: str) -> str:
    """Give ``label`` if a checkpoint can be called so.

    Raises:
        CheckpointError: it cannot.
    """
    if _LABEL.fullmatch(label) is None:
        raise CheckpointError(
            f"{label!r} is no name for a checkpoint",
            hint="use letters, digits, '.', '_' and '-', 64 at most",
        )
    return label
