"""What is recorded about VMs, and how it is read, changed and held."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tachikoma.model.events import Report
from tachikoma.model.names import VmName


@dataclass(frozen=True, slots=True)
class VmRecord:
    """What only we know about a VM. Never its status or address: those are observed.

    ``repository`` is the common git directory. Times are seconds since the epoch.
    ``token_hashes`` are SHA-256 hex digests of the tokens with which the VM may use the proxy,
    newest first. ``mounts`` are (tag, host path) as of the last start. ``remote`` is the URL that
    the repository's branches were pushed to when its first VM was made, "" for none: a guest can
    change the repository's own word. ``egress_allow`` and
    ``egress_deny`` are rules about what this VM reaches, beside those in the settings.
    """

    name: VmName
    repository: Path
    repository_name: str
    branch: str
    worktree: Path
    engine: str
    image: str
    created: float
    last_used: float
    token_hashes: tuple[str, ...] = ()
    mounts: tuple[tuple[str, Path], ...] = ()
    remote: str = ""
    egress_allow: tuple[str, ...] = ()
    egress_deny: tuple[str, ...] = ()


@dataclass(slots=True)
class Ledger:
    """All records, by VM name. Changed only within ``StateStore.edit``."""

    vms: dict[VmName, VmRecord] = field(default_factory=dict)

    def put(self, record: VmRecord) -> None:
        """Add or replace a record."""
        self.vms[record.name] = record

    def drop(self, vm: VmName) -> None:
        """Remove a record. Does nothing if absent."""
        self.vms.pop(vm, None)

    def of_branch(self, repository: Path, branch: str) -> VmRecord | None:
        """Find the VM of a branch."""
        return next(
            (r for r in self.vms.values() if r.repository == repository and r.branch == branch),
            None,
        )

    def of_token(self, token_hash: str) -> VmRecord | None:
        """Find the VM that a token (its SHA-256, hex) belongs to."""
        return next((r for r in self.vms.values() if token_hash in r.token_hashes), None)


class StateStore(Protocol):
    """The state file, and the locks on VMs."""

    def read(self) -> Ledger:
        """Give what is recorded now; a missing file is an empty ledger.

        Raises:
            StateCorruptError: it cannot be understood; it is left as it is.
            StateTooNewError: a newer tachikoma wrote it.
        """
        ...

    def edit(self) -> AbstractContextManager[Ledger]:
        """Lock, read, let the block change the ledger, write at once. An error writes nothing.

        Short: never held over anything that waits.
        """
        ...

    def hold(
        self, vm: VmName, purpose: str, *, report: Report, deadline_s: float
    ) -> AbstractAsyncContextManager[None]:
        """Be the only one who works on ``vm``; waits for another holder and reports who it is.

        The lock ends with its holder, however that ends; its file goes with it.

        Raises:
            VmBusyError: still held after ``deadline_s``; names the holder's pid and purpose.
        """
        ...
