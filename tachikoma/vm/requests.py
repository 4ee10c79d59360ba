"""What can be asked of the orchestrator, and what it answers: frozen values, one pair a use."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tachikoma.model.names import VmName
from tachikoma.model.vm import Checkpoint, Endpoint, VmState
from tachikoma.ssh.port import Login
from tachikoma.vm.provision.luggage import Carried


class How(StrEnum):
    """How a spawn got to a ready VM."""

    CREATED = "created"
    STARTED = "started"
    PROVISIONED = "provisioned"
    RECONNECTED = "reconnected"


@dataclass(frozen=True, slots=True)
class SpawnRequest:
    """A VM for ``branch`` (None: the current one) of the repository that ``cwd`` is in."""

    cwd: Path
    branch: str | None = None


@dataclass(frozen=True, slots=True)
class SpawnOutcome:
    """A VM that is ready to work in.

    ``steps`` are (name, seconds) of what was done, in order. ``worktree`` is the same path on
    the host and in the guest. ``carried`` names what of the user's own in the VM may be a secret.
    """

    name: VmName
    repository: Path
    branch: str
    worktree: Path
    login: Login
    how: How
    steps: tuple[tuple[str, float], ...]
    carried: tuple[Carried, ...] = ()


@dataclass(frozen=True, slots=True)
class Target:
    """Which VM is meant: its name, a branch of the repository at ``cwd``, or None for the current
    branch there.
    """

    cwd: Path
    name: str | None = None


@dataclass(frozen=True, slots=True)
class ReachRequest:
    """Get into a VM that should be running already (enter, exec)."""

    target: Target


@dataclass(frozen=True, slots=True)
class ReachOutcome:
    """How to get into a running VM, and where to start there."""

    name: VmName
    branch: str
    worktree: Path
    login: Login


@dataclass(frozen=True, slots=True)
class HaltRequest:
    """Stop a VM and keep its disk. ``force`` does not wait for the guest to shut down."""

    target: Target
    force: bool = False


@dataclass(frozen=True, slots=True)
class HaltOutcome:
    """A VM that is stopped; ``was_running`` tells whether there was anything to do."""

    name: VmName
    branch: str
    was_running: bool


@dataclass(frozen=True, slots=True)
class SuspendRequest:
    """Put a VM to rest with its memory, where the engine can."""

    target: Target


@dataclass(frozen=True, slots=True)
class SuspendOutcome:
    """A VM at rest. ``suspended``: its memory was kept now; if not, ``why`` may say more."""

    name: VmName
    branch: str
    was_running: bool
    suspended: bool
    why: str


@dataclass(frozen=True, slots=True)
class CheckpointRequest:
    """A checkpoint of a VM's disk, to save, restore or delete; ``label`` is as a file name."""

    target: Target
    label: str


@dataclass(frozen=True, slots=True)
class CheckpointOutcome:
    """What was done to the checkpoint ``label``.

    ``halted``: the VM ran and was stopped for it. ``worktree`` is what a restore leaves as it is.
    """

    name: VmName
    branch: str
    label: str
    worktree: Path | None
    halted: bool = False


@dataclass(frozen=True, slots=True)
class CheckpointsRequest:
    """List the checkpoints of a VM."""

    target: Target


@dataclass(frozen=True, slots=True)
class CheckpointsOutcome:
    """The checkpoints of a VM, oldest first."""

    name: VmName
    branch: str
    checkpoints: tuple[Checkpoint, ...]


@dataclass(frozen=True, slots=True)
class DestroyRequest:
    """Remove a VM with its disk, its token and its record. Worktree and branch stay.

    ``force`` does not wait for the guest to shut down. ``unused_since`` (seconds since the epoch)
    spares a VM that runs or that somebody has used after that.
    """

    target: Target
    force: bool = False
    unused_since: float | None = None


@dataclass(frozen=True, slots=True)
class DestroyOutcome:
    """A VM that is gone; ``worktree`` is what stays (None where there was no record)."""

    name: VmName
    branch: str
    worktree: Path | None


@dataclass(frozen=True, slots=True)
class PruneRequest:
    """Destroy the VMs that nobody has used for ``days`` (None: as the settings say) and that do
    not run. ``dry_run`` only says which.
    """

    days: float | None = None
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Spared:
    """A VM that is old enough and stays all the same."""

    name: VmName
    branch: str
    why: str


@dataclass(frozen=True, slots=True)
class PruneOutcome:
    """What was destroyed (or would be), with the disk space of each in ``freed_bytes``."""

    days: float
    pruned: tuple[VmReport, ...]
    spared: tuple[Spared, ...]
    freed_bytes: int


@dataclass(frozen=True, slots=True)
class SurveyRequest:
    """List VMs: all, or those of the repository that ``repository_at`` is in."""

    repository_at: Path | None = None


@dataclass(frozen=True, slots=True)
class VmReport:
    """One VM as recorded and as observed now.

    ``orphan`` marks a VM of the engine that no record knows (or a record without a VM: then
    ``state`` is None). Times are seconds since the epoch, sizes bytes, memory MiB.
    """

    name: VmName
    branch: str
    repository: Path | None
    repository_name: str
    worktree: Path | None
    engine: str
    image: str
    state: VmState | None
    cpus: int
    memory_mib: int
    disk_bytes: int
    created: float | None
    last_used: float | None
    orphan: bool = False


@dataclass(frozen=True, slots=True)
class SurveyOutcome:
    """The VMs, by name."""

    vms: tuple[VmReport, ...]


@dataclass(frozen=True, slots=True)
class StatusRequest:
    """Look closely at one VM: also into the guest, if it runs."""

    target: Target


@dataclass(frozen=True, slots=True)
class StatusOutcome:
    """One VM seen closely. ``phase`` is the name of its lifecycle phase."""

    vm: VmReport
    phase: str
    address: Endpoint | None
    mounts: tuple[tuple[str, Path], ...]
    log: str
