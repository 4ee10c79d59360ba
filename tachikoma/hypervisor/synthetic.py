"""The synthetic engine: all the promises of a real one, and no VM behind them.

It is what the tests of everything above the engine stand on, and ``--hypervisor synthetic``.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from tachikoma.host.clock import Clock, attempts
from tachikoma.hypervisor.port import OnOutput
from tachikoma.hypervisor.synthetic_world import Keeper, SyntheticVm, World
from tachikoma.model.errors import (
    AgentError,
    CheckpointError,
    HypervisorError,
    ImageInUseError,
    ImageNotFoundError,
    TachikomaError,
    VmExistsError,
    VmNotFoundError,
    VmNotRunningError,
)
from tachikoma.model.events import Report, StepProgress
from tachikoma.model.names import VmName
from tachikoma.model.vm import (
    Checkpoint,
    Endpoint,
    Feature,
    Features,
    GuestCommand,
    GuestExit,
    ImageInfo,
    Launch,
    Network,
    VmInfo,
    VmState,
)

ENGINE = "synthetic"
IMAGE = "synthetic"
_FIRST_PORT = 20_022
_DISK_BYTES = 1 << 20
_AVAILABLE = Feature(available=True)


class Guest(Protocol):
    """What a command in a guest does. ``launch`` is one object for each boot of ``vm``."""

    def __call__(self, vm: VmName, launch: Launch | None, command: GuestCommand) -> GuestExit:
        """Run ``command`` and give its end."""
        ...


def _nobody(vm: VmName) -> None:
    del vm


class Synthetic:
    """An engine (``Hypervisor`` and ``Images``) that keeps states and asks ``guest`` for the rest.

    Args:
        file: where it is kept, so that the next command finds it; None keeps it in memory.
        clock: the agent of a guest answers ``boot_s`` of it after the start.
        guest: what commands in a guest do.
        on_delete: told when a VM and its disk are gone, for a guest that remembers things.
        suspend: what the features say about it.

    For tests: ``calls`` are the changes and commands asked for, in order (``start NAME``);
    ``agent_answers`` False makes every guest deaf; ``fail_next``, ``crash`` and ``put_state``
    bring trouble.
    """

    def __init__(
        self,
        *,
        file: Path | None,
        clock: Clock,
        guest: Guest,
        boot_s: float = 0.0,
        on_delete: Callable[[VmName], None] = _nobody,
        suspend: Feature = _AVAILABLE,
    ) -> None:
        self._file = file
        self._clock = clock
        self._guest = guest
        self._boot_s = boot_s
        self._on_delete = on_delete
        self._suspend = suspend
        self._keeper = Keeper(file=file, first=World(images={IMAGE: _image(IMAGE, clock.now())}))
        self._launches: dict[str, Launch | None] = {}
        self._failures: dict[str, list[TachikomaError]] = {}
        self.agent_answers = True
        self.calls: list[str] = []

    @property
    def features(self) -> Features:
        """What this engine can do, as data."""
        return Features(
            engine=ENGINE,
            suspend=self._suspend,
            instant_spawn=_AVAILABLE,
            checkpoints=_AVAILABLE,
            proxy_network=_AVAILABLE,
            build_images=_AVAILABLE,
            default_network=Network.PROXY,
            default_image=IMAGE,
            forwards_ssh=False,
            proxy_bind="127.0.0.1",
        )

    async def vms(self) -> list[VmInfo]:
        """List the VMs by name, running or not."""
        self._enter("vms")
        known = self._keeper.read().vms
        return [known[name].info(_DISK_BYTES) for name in sorted(known)]

    async def find(self, vm: VmName) -> VmInfo | None:
        """Look one VM up; None if there is none."""
        self._enter("find")
        found = self._keeper.read().vms.get(vm)
        return None if found is None else found.info(_DISK_BYTES)

    async def clone(self, image: str, vm: VmName) -> None:
        """Make ``vm`` from ``image``, stopped, at a port of its own. All or nothing.

        Raises:
            ImageNotFoundError: no image of that name.
            VmExistsError: ``vm`` is there already; it is untouched.
        """
        self._enter("clone", vm)
        with self._keeper.edit() as world:
            if vm in world.vms:
                raise VmExistsError(f"there is a VM {vm} already", hint="destroy it first")
            if image not in world.images:
                raise _no_image(image)
            world.vms[vm] = SyntheticVm(name=vm, image=image, port=world.free_port(_FIRST_PORT))

    async def configure(self, vm: VmName, *, cpus: int, memory_mib: int) -> None:
        """Set what the next start gives to ``vm``. Idempotent.

        Raises:
            VmNotFoundError: no such VM.
        """
        self._enter("configure", vm)
        with self._keeper.edit() as world:
            world.vms[vm] = replace(_vm(world, vm), cpus=cpus, memory_mib=memory_mib)

    async def warm(self, image: str, *, cpus: int, memory_mib: int, report: Report) -> None:
        """Look whether there is such an image; its VMs boot when their time has come."""
        del cpus, memory_mib, report
        self._enter("warm")
        if image not in self._keeper.read().images:
            raise _no_image(image)

    async def start(self, vm: VmName, launch: Launch) -> None:
        """Start ``vm``; its agent answers after the boot time. Does nothing if it runs.

        Raises:
            VmNotFoundError: no such VM.
            HypervisorError: its state is unknown, or the failure that was asked for.
        """
        self._enter("start", vm)
        with self._keeper.edit() as world:
            found = _vm(world, vm)
            if found.state is VmState.RUNNING:
                return
            if found.state is VmState.UNKNOWN:
                raise HypervisorError(f"{vm} is in no state to start", hint="look at its engine")
            world.vms[vm] = replace(
                found,
                state=VmState.RUNNING,
                boot=os.urandom(8).hex(),
                booted=self._clock.now(),
                launch=replace(launch),
            )

    async def address(self, vm: VmName) -> Endpoint | None:
        """Tell where the guest's port 22 would be; None unless it runs."""
        self._enter("address")
        found = self._keeper.read().vms.get(vm)
        if found is None or found.state is not VmState.RUNNING:
            return None
        return Endpoint("127.0.0.1", found.port)

    async def agent_ready(self, vm: VmName) -> bool:
        """Tell whether the guest's agent answers now."""
        self._enter("agent_ready")
        return self._answers(self._keeper.read().vms.get(vm))

    async def execute(
        self, vm: VmName, command: GuestCommand, on_output: OnOutput | None = None
    ) -> GuestExit:
        """Let the guest run ``command``; ``on_output`` sees its output line by line.

        Raises:
            VmNotRunningError: the VM does not run.
            AgentError: the agent is not up yet, or deaf until the deadline.
        """
        self._enter("execute", vm)
        found = self._keeper.read().vms.get(vm)
        if found is None or found.state is not VmState.RUNNING:
            raise VmNotRunningError(f"{vm} does not run", hint="start it with `tachikoma spawn`")
        async for _ in attempts(self._clock, deadline_s=command.deadline_s):
            if self._answers(found):
                break
        else:
            raise AgentError(
                f"the agent of {vm} did not answer in {command.deadline_s:g} s",
                hint=f"see {self.log_of(vm)}",
            )
        ended = self._guest(vm, self._launch(found), command)
        if on_output is not None:
            for line in ended.stdout.splitlines(keepends=True):
                on_output("stdout", line)
            for line in ended.stderr.splitlines(keepends=True):
                on_output("stderr", line)
        return ended

    async def suspend(self, vm: VmName) -> None:
        """Put a running VM to rest.

        Raises:
            VmNotRunningError: it does not run.
        """
        self._enter("suspend", vm)
        with self._keeper.edit() as world:
            found = _vm(world, vm)
            if found.state is not VmState.RUNNING:
                raise VmNotRunningError(f"{vm} does not run", hint="`tachikoma spawn` starts it")
            world.vms[vm] = replace(found, state=VmState.SUSPENDED)

    async def checkpoints(self, vm: VmName) -> list[Checkpoint]:
        """List the checkpoints of ``vm``, oldest first."""
        self._enter("checkpoints")
        return list(_vm(self._keeper.read(), vm).checkpoints)

    async def save_checkpoint(self, vm: VmName, label: str) -> None:
        """Note a checkpoint; there is no disk to keep.

        Raises:
            CheckpointError: there is one of that name.
        """
        self._enter("save_checkpoint", vm)
        with self._keeper.edit() as world:
            found = _vm(world, vm)
            if label in {each.label for each in found.checkpoints}:
                raise CheckpointError(
                    f"{vm} has a checkpoint {label} already", hint="choose another name"
                )
            more = (*found.checkpoints, Checkpoint(label, self._clock.now()))
            world.vms[vm] = replace(found, checkpoints=more)

    async def restore_checkpoint(self, vm: VmName, label: str) -> None:
        """Look whether a checkpoint could be gone back to.

        Raises:
            CheckpointError: there is none of that name.
            HypervisorError: the VM runs.
        """
        self._enter("restore_checkpoint", vm)
        if _checkpoint(self._keeper.read(), vm, label).state is VmState.RUNNING:
            raise HypervisorError(f"{vm} still runs", hint="stop it first: `tachikoma halt`")

    async def delete_checkpoint(self, vm: VmName, label: str) -> None:
        """Forget a checkpoint.

        Raises:
            CheckpointError: there is none of that name.
        """
        self._enter("delete_checkpoint", vm)
        with self._keeper.edit() as world:
            found = _checkpoint(world, vm, label)
            kept = tuple(each for each in found.checkpoints if each.label != label)
            world.vms[vm] = replace(found, checkpoints=kept)

    async def stop(self, vm: VmName, *, grace_s: float) -> None:
        """Shut the guest down; a deaf one takes the whole grace. Nothing if stopped or absent."""
        self._enter("stop", vm)
        found = self._keeper.read().vms.get(vm)
        if found is not None and found.state is VmState.RUNNING and not self._answers(found):
            await self._clock.sleep(grace_s)
        self._halt(vm)

    async def delete(self, vm: VmName) -> None:
        """Remove a stopped or suspended VM. Nothing if absent.

        Raises:
            HypervisorError: it still runs.
        """
        self._enter("delete", vm)
        with self._keeper.edit() as world:
            found = world.vms.get(vm)
            if found is None:
                return
            if found.state not in (VmState.STOPPED, VmState.SUSPENDED):
                raise HypervisorError(f"{vm} still runs", hint="stop it first: `tachikoma halt`")
            del world.vms[vm]
        self._on_delete(vm)

    def proxy_endpoint(self, proxy: Endpoint) -> Endpoint:
        """Tell at which address a guest reaches the proxy: the host's own."""
        return proxy

    def log_of(self, vm: VmName) -> str:
        """Say where something about ``vm`` is written: in the file of the engine."""
        return f"{vm} in {self._file}" if self._file else f"{vm} in memory"

    async def images(self) -> list[ImageInfo]:
        """List the images by name."""
        self._enter("images")
        known = self._keeper.read().images
        return [known[name] for name in sorted(known)]

    async def build(self, name: str, *, rebuild: bool, report: Report) -> ImageInfo:
        """Make the image ``name``; comes back at once if it is there and ``rebuild`` is False."""
        self._enter("build", name)
        with self._keeper.edit() as world:
            if name in world.images and not rebuild:
                return world.images[name]
            report(StepProgress(f"building {name} out of nothing", fraction=1.0))
            world.images[name] = _image(name, self._clock.now())
            return world.images[name]

    async def pull(self, name: str, *, report: Report) -> ImageInfo:
        """Make the image ``name`` as if it came from somewhere; anew if it is there."""
        self._enter("pull", name)
        return await self.build(name, rebuild=True, report=report)

    async def push(self, name: str, target: str, *, report: Report) -> None:
        """Let the image ``target`` be what ``name`` is.

        Raises:
            ImageNotFoundError: no such image.
        """
        self._enter("push", name)
        with self._keeper.edit() as world:
            if name not in world.images:
                raise _no_image(name)
            report(StepProgress(f"pushing {name} to nowhere", fraction=1.0))
            world.images[target] = replace(world.images[name], name=target)

    async def delete_image(self, name: str, *, used_by: Sequence[VmName]) -> None:
        """Remove the image.

        Raises:
            ImageNotFoundError: no such image.
            ImageInUseError: ``used_by`` is not empty, or VMs of this engine stand on it.
        """
        self._enter("delete_image", name)
        with self._keeper.edit() as world:
            if name not in world.images:
                raise _no_image(name)
            own = [each.name for each in world.vms.values() if each.image == name]
            if users := sorted({*used_by, *own}):
                raise ImageInUseError(
                    f"the image {name} is in use by {', '.join(users)}",
                    hint="destroy these VMs first",
                )
            del world.images[name]

    def fail_next(self, method: str, error: TachikomaError) -> None:
        """Let the next call of ``method`` raise ``error`` and do nothing; queues up."""
        assert hasattr(self, method), method
        self._failures.setdefault(method, []).append(error)

    def crash(self, vm: VmName) -> None:
        """Let ``vm`` stop as if its process had been killed. Nothing if stopped or absent."""
        self._halt(vm)

    def put_state(self, vm: VmName, state: VmState) -> None:
        """Let ``vm`` be in ``state`` from now on.

        Raises:
            VmNotFoundError: no such VM.
        """
        with self._keeper.edit() as world:
            world.vms[vm] = replace(_vm(world, vm), state=state)

    def _enter(self, method: str, subject: str = "") -> None:
        if subject:
            self.calls.append(f"{method} {subject}")
        if waiting := self._failures.get(method):
            raise waiting.pop(0)

    def _answers(self, vm: SyntheticVm | None) -> bool:
        return (
            vm is not None
            and vm.state is VmState.RUNNING
            and self.agent_answers
            and self._clock.now() >= vm.booted + self._boot_s
        )

    def _launch(self, vm: SyntheticVm) -> Launch | None:
        """Give the launch of this boot, the same object each time, read from a file or not."""
        return self._launches.setdefault(vm.boot, vm.launch)

    def _halt(self, vm: VmName) -> None:
        with self._keeper.edit() as world:
            found = world.vms.get(vm)
            if found is not None and found.state is not VmState.STOPPED:
                self._launches.pop(found.boot, None)
                world.vms[vm] = replace(found, state=VmState.STOPPED, launch=None)


def _vm(world: World, vm: VmName) -> SyntheticVm:
    if vm not in world.vms:
        raise VmNotFoundError(f"there is no VM {vm}", hint="`tachikoma list` shows all of them")
    return world.vms[vm]


def _checkpoint(world: World, vm: VmName, label: str) -> SyntheticVm:
    found = _vm(world, vm)
    if label not in {each.label for each in found.checkpoints}:
        raise CheckpointError(f"{vm} has no checkpoint {label}", hint="`checkpoint list`")
    return found


def _no_image(name: str) -> ImageNotFoundError:
    return ImageNotFoundError(
        f"there is no image {name}", hint=f"build it: `tachikoma image build {name}`"
    )


def _image(name: str, created: float) -> ImageInfo:
    return ImageInfo(
        name=name,
        size_bytes=_DISK_BYTES,
        created=created,
        digest=hashlib.sha256(f"{name} {created}".encode()).hexdigest(),
        contents={"engine": ENGINE},
    )
