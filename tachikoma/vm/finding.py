"""Finding the VM that a command is about."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tachikoma.model.errors import GitError, VmNotFoundError
from tachikoma.model.names import VmName, is_vm_name
from tachikoma.state.port import VmRecord
from tachikoma.vm import registry
from tachikoma.vm.ports import Ports
from tachikoma.vm.requests import Target


@dataclass(frozen=True, slots=True)
class Known:
    """A VM that a command is about; ``record`` is None for one that only the engine knows."""

    name: VmName
    record: VmRecord | None

    @property
    def branch(self) -> str:
        """Its branch; empty where nobody knows."""
        return self.record.branch if self.record else ""


async def find_vm(ports: Ports, target: Target) -> Known:
    """Find the VM that is meant.

    Raises:
        VmNotFoundError: neither a record nor the engine knows it.
    """
    ledger = ports.store.read()
    if target.name is None:
        repository = (await ports.git.repository(target.cwd)).git_dir
        branch = await ports.git.current_branch(target.cwd)
        record = ledger.of_branch(repository, branch)
        what = f"the branch {branch}"
    else:
        record = registry.of_name(ledger, target.name, await _repository(ports, target.cwd))
        what = target.name
    if record is not None:
        return Known(record.name, record)
    if target.name is not None and is_vm_name(target.name):
        name = VmName(target.name)
        if await ports.hypervisor.find(name) is not None:
            return Known(name, None)
    raise VmNotFoundError(
        f"there is no VM for {what}",
        hint="`tachikoma list` shows all VMs; `tachikoma spawn` makes one",
    )


async def _repository(ports: Ports, directory: Path) -> Path | None:
    try:
        return (await ports.git.repository(directory)).git_dir
    except GitError:
        return None
