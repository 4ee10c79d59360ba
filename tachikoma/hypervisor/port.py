"""What the heart needs from an engine. Fits Tart's commands as well as QEMU's.

Every method is safe to repeat after a crash; none leaves half a VM that ``vms`` would list.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from tachikoma.model.events import Report
from tachikoma.model.names import VmName
from tachikoma.model.vm import (
    Checkpoint,
    Endpoint,
    Features,
    GuestCommand,
    GuestExit,
    ImageInfo,
    Launch,
    Stream,
    VmInfo,
)

OnOutput = Callable[[Stream, bytes], None]


class Hypervisor(Protocol):
    """An engine that runs virtual machines and outlives the command that talks to it."""

    @property
    def features(self) -> Features:
        """What this engine can do, as data."""
        ...

    async def vms(self) -> list[VmInfo]:
        """List this user's VMs by name, running or not. A half-made one is not among them."""
        ...

    async def find(self, vm: VmName) -> VmInfo | None:
        """Look one VM up; None if there is none. Cheap: no guest is asked."""
        ...

    async def clone(self, image: str, vm: VmName) -> None:
        """Make ``vm`` from ``image``, stopped, with a MAC address of its own. All or nothing.

        Raises:
            ImageNotFoundError: no image of that name.
            VmExistsError: ``vm`` is there already; it is untouched.
            DiskFullError: nothing is left behind.
        """
        ...

    async def configure(self, vm: VmName, *, cpus: int, memory_mib: int) -> None:
        """Set what the next start gives to ``vm``. Idempotent.

        Raises:
            VmNotFoundError: no such VM.
        """
        ...

    async def warm(self, image: str, *, cpus: int, memory_mib: int, report: Report) -> None:
        """Make what lets new VMs of ``image`` and this size start at once. Idempotent.

        Does nothing where the engine has no such thing (``features.instant_spawn``).

        Raises:
            ImageNotFoundError: no image of that name.
            HypervisorError, DiskFullError: it cannot be made; VMs start by booting all the same.
        """
        ...

    async def start(self, vm: VmName, launch: Launch) -> None:
        """Start ``vm`` and come back as soon as the engine runs it; the guest boots meanwhile.

        Does nothing if it runs. If starting fails, nothing runs and the VM is as before.

        Raises:
            VmNotFoundError: no such VM.
            HypervisorMissingError: a program that it takes is not installed.
            HypervisorError: the engine refused; details hold its log's last lines.
        """
        ...

    async def address(self, vm: VmName) -> Endpoint | None:
        """Tell where the guest's port 22 is reached from this host; None while unknown."""
        ...

    async def agent_ready(self, vm: VmName) -> bool:
        """Tell whether the guest's agent answers now. Never raises for a VM that is booting."""
        ...

    async def execute(
        self, vm: VmName, command: GuestCommand, on_output: OnOutput | None = None
    ) -> GuestExit:
        """Run ``command`` through the agent channel; ``on_output`` sees its output as it comes.

        Raises:
            VmNotRunningError: the VM does not run.
            AgentError: the agent does not answer, refused, or the deadline passed (the command
                is then ended in the guest).
        """
        ...

    async def suspend(self, vm: VmName) -> None:
        """Put a running VM to rest with its memory; the next start goes on from there.

        Its shared directories are taken away first, so ``start`` gives it new ones and it has to
        be provisioned again.

        Raises:
            UnsupportedError: this engine cannot (``features.suspend``).
            VmNotRunningError: it does not run.
            VmInUseError: something in the guest uses the shared directories; it runs on.
            DiskFullError: no space for its memory; it runs on.
            HypervisorError: it failed on the way; the VM is stopped, its disk as it was.
        """
        ...

    async def stop(self, vm: VmName, *, grace_s: float) -> None:
        """Shut the guest down, by force after ``grace_s``; comes back when nothing of it runs.

        What is suspended loses its memory. Does nothing if it is stopped or absent. ``grace_s``
        0 means at once by force.
        """
        ...

    async def delete(self, vm: VmName) -> None:
        """Remove a stopped VM and every file of it, half-made ones too. Nothing if absent.

        Raises:
            HypervisorError: it still runs.
        """
        ...

    def proxy_endpoint(self, proxy: Endpoint) -> Endpoint:
        """Tell at which address a guest reaches the credential proxy listening at ``proxy``."""
        ...

    def log_of(self, vm: VmName) -> str:
        """Say where the engine and the guest's console write about ``vm`` (a path, for hints)."""
        ...


class Checkpoints(Protocol):
    """Named restore points of the disks of VMs."""

    async def checkpoints(self, vm: VmName) -> list[Checkpoint]:
        """List those of ``vm``, oldest first."""
        ...

    async def save_checkpoint(self, vm: VmName, label: str) -> None:
        """Keep the disk of ``vm`` as it is now, running or not.

        Raises:
            VmNotFoundError: no such VM.
            CheckpointError: there is one of that name, or the VM has no disk yet.
            DiskFullError: no space.
        """
        ...

    async def restore_checkpoint(self, vm: VmName, label: str) -> None:
        """Make the disk of a stopped VM what it was then.

        Raises:
            CheckpointError: there is none of that name.
            HypervisorError: it runs.
        """
        ...

    async def delete_checkpoint(self, vm: VmName, label: str) -> None:
        """Let go of one.

        Raises:
            CheckpointError: there is none of that name.
        """
        ...


class Images(Protocol):
    """The base images of an engine."""

    async def images(self) -> list[ImageInfo]:
        """List them by name. A half-made one is not among them."""
        ...

    async def build(self, name: str, *, rebuild: bool, report: Report) -> ImageInfo:
        """Build the image ``name``, all or nothing; comes back at once if it is there already.

        ``rebuild`` makes it anew all the same; VMs on the old one keep working.

        Raises:
            MissingToolError: a program is missing; the hint names its package.
            ImageBuildFailed: details hold the last lines.
            DiskFullError: nothing is left behind.
            UnsupportedError: this engine cannot build images.
        """
        ...

    async def pull(self, name: str, *, report: Report) -> ImageInfo:
        """Fetch the image ``name`` from where it is published, or what is new of it.

        Raises:
            ImageNotFoundError: there it is not.
            ImageError: its registry refuses.
            DiskFullError: no space.
            UnsupportedError: images of this engine are built, not fetched.
        """
        ...

    async def push(self, name: str, target: str, *, report: Report) -> None:
        """Publish the image ``name`` as ``target``, a reference to a registry.

        Raises:
            ImageNotFoundError: no such image.
            ImageError: ``target`` is no reference, or its registry refuses.
            UnsupportedError: images of this engine cannot be published.
        """
        ...

    async def delete_image(self, name: str, *, used_by: Sequence[VmName]) -> None:
        """Remove the image.

        Raises:
            ImageNotFoundError: no such image.
            ImageInUseError: ``used_by`` is not empty, or VMs of this engine stand on it.
        """
        ...
