"""What all calls of one server share: the parts to work with, and which VMs it is for."""

from __future__ import annotations

from pathlib import Path

from tachikoma.git.port import Repository
from tachikoma.mcp.outputs import Outputs
from tachikoma.model.errors import BadArgumentError, VmNotFoundError
from tachikoma.model.names import VmName
from tachikoma.runtime import Runtime
from tachikoma.state.port import VmRecord
from tachikoma.vm.requests import Target


class Desk:
    """Joins the parts anew for each call, so that settings and repositories may change meanwhile.

    With ``repository`` the server is for that one only: whatever a call names, it gets no VM,
    file or log of another one, and hears nothing of them.
    """

    def __init__(
        self, *, runtime: Runtime, repository: Repository | None, outputs: Outputs
    ) -> None:
        self._runtime = runtime
        self._repository = repository
        self.outputs = outputs
        self.home = runtime.cwd if repository is None else repository.root

    @property
    def confined(self) -> bool:
        """Tell whether the server is for one repository only."""
        return self._repository is not None

    async def runtime(self, cwd: str | None) -> Runtime:
        """Join the parts as a command in ``cwd`` has them, with its settings loaded.

        Raises:
            BadArgumentError: no absolute path, or not in the server's repository.
            ConfigError: a settings file cannot be used.
        """
        runtime = self._runtime.at(self.home if cwd is None else _absolute(cwd))
        if self._repository is not None:
            found = await runtime.git.repository(runtime.cwd)
            if found.git_dir != self._repository.git_dir:
                raise BadArgumentError(
                    f"{cwd} is not in the repository {self._repository.root}",
                    hint="this server works for that repository only (it runs with --repo)",
                )
        await runtime.load_settings()
        return runtime

    async def vm(self, vm_name: str, cwd: str | None) -> tuple[Runtime, Target]:
        """Find what ``vm_name`` (a VM, or a branch of the repository at ``cwd``) means.

        Raises:
            VmNotFoundError: the server is for one repository, and that has no such VM.
        """
        if not vm_name:
            raise BadArgumentError("vm_name is empty", hint="give a VM's name or a branch")
        runtime = await self.runtime(cwd)
        if self._repository is None:
            return runtime, Target(runtime.cwd, vm_name)
        ledger = runtime.store.read()
        record = ledger.vms.get(VmName(vm_name))
        if record is None or not self._is_ours(record):
            record = ledger.of_branch(self._repository.git_dir, vm_name)
        if record is None:
            raise VmNotFoundError(
                f"there is no VM for {vm_name} in {self._repository.root}",
                hint="the tool list shows the VMs of this repository; spawn makes one",
            )
        return runtime, Target(runtime.cwd, record.name)

    def _is_ours(self, record: VmRecord) -> bool:
        return self._repository is not None and record.repository == self._repository.git_dir


def _absolute(cwd: str) -> Path:
    path = Path(cwd)
    if not path.is_absolute() or "\0" in cwd:
        raise BadArgumentError(
            f"cwd must be an absolute path, not {cwd!r}", hint="give the repository's directory"
        )
    return path
