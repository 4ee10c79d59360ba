"""QEMU as an engine: ``Hypervisor`` for Linux hosts, with or without hardware virtualisation."""

from __future__ import annotations

import json
import secrets
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

from tachikoma.host import files, process
from tachikoma.host.clock import Clock
from tachikoma.hypervisor.port import OnOutput
from tachikoma.hypervisor.qemu import guest_exec, probe
from tachikoma.hypervisor.qemu.agent import Agent
from tachikoma.hypervisor.qemu.argv import DEFAULT_CMDLINE, GUEST_PROXY_HOST, overlay_argv
from tachikoma.hypervisor.qemu.machine import Home, Machine, Machines
from tachikoma.hypervisor.qemu.power import AGENT, Power
from tachikoma.model.checks import Check
from tachikoma.model.errors import (
    CommandFailed,
    DiskFullError,
    HypervisorError,
    ImageError,
    ImageNotFoundError,
    VmExistsError,
    VmNotFoundError,
    VmNotRunningError,
)
from tachikoma.model.names import VmName, is_vm_name
from tachikoma.model.vm import (
    Endpoint,
    Feature,
    Features,
    GuestCommand,
    GuestExit,
    Launch,
    Network,
    VmInfo,
    VmState,
)

FEATURES = Features(
    engine="qemu",
    suspend=Feature(
        available=False, why="QEMU cannot save a VM that shares directories; it is halted instead"
    ),
    proxy_network=Feature(available=True),
    build_images=Feature(available=True),
    default_network=Network.PROXY,
    default_image="debian",
    proxy_bind="127.0.0.1",
)

_AGENT_READY_S = 1.0
_OVERLAY_S = 30.0
_CPUS = 2
_MEMORY_MIB = 2048
_BLOCK = 512


class Qemu:
    """VMs below ``data``, run by QEMU; see ``Hypervisor`` for what its methods promise.

    ``data`` holds ``images/`` and ``vms/``; ``runtime``, with a short path, the sockets.
    """

    def __init__(self, *, data: Path, runtime: Path, clock: Clock) -> None:
        self._images = data / "images"
        self._verdict = data / "kvm.json"
        self._clock = clock
        self._machines = Machines(directory=data / "vms", clock=clock)
        self._power = Power(
            machines=self._machines, runtime=runtime, verdict=self._verdict, clock=clock
        )

    @property
    def features(self) -> Features:
        """What this engine can do, as data."""
        return FEATURES

    async def vms(self) -> list[VmInfo]:
        """List this user's VMs by name, running or not."""
        seen = [await self.find(name) for name in self._machines.names()]
        return [info for info in seen if info is not None]

    async def find(self, vm: VmName) -> VmInfo | None:
        """Look one VM up in files and processes."""
        home = self._machines.home(vm)
        try:
            machine = self._machines.load(vm)
        except HypervisorError:
            return VmInfo(vm, VmState.UNKNOWN, "", 0, 0, _disk_bytes(home))
        if machine is None:
            return None
        running = self._machines.running(vm) is not None or self._machines.starting(vm)
        return VmInfo(
            name=vm,
            state=VmState.RUNNING if running else VmState.STOPPED,
            image=machine.image,
            cpus=machine.cpus,
            memory_mib=machine.memory_mib,
            disk_bytes=_disk_bytes(home),
        )

    async def clone(self, image: str, vm: VmName) -> None:
        """Make a VM whose disk holds only what differs from that of ``image``."""
        self._image(image)
        img = probe.program("qemu-img")
        await self._machines.sweep()
        self._refuse_existing(vm)
        async with self._machines.claimed(vm, make=True) as home:
            self._refuse_existing(vm)
            try:
                await self._make(img, image, home)
            except BaseException:
                self._machines.remove(home)
                raise

    async def _make(self, img: str, image: str, home: Home) -> None:
        """Make a VM on what ``image`` is now; anew if that is collected meanwhile.

        Who builds an image anew removes the old one unless a machine.json speaks of it. So that
        is written first and then looked whether the old one is still there (``ImageStore.collect``
        does it the other way round).
        """
        while True:
            machine = self._machine(VmName(home.path.name), image)
            try:
                await _make_overlay(img, machine.base / "disk.qcow2", home.disk)
                self._machines.save(machine)
            except CommandFailed:
                if machine.base.is_dir():
                    raise
            if machine.base.is_dir():
                return

    def _machine(self, vm: VmName, image: str) -> Machine:
        base, about = self._image(image)
        return Machine(
            name=vm,
            uuid=str(uuid.uuid4()),
            mac=f"52:54:00:{secrets.token_bytes(3).hex(':')}",
            image=image,
            base=base,
            cmdline=str(about.get("kernel_cmdline") or DEFAULT_CMDLINE),
            cpus=_CPUS,
            memory_mib=_MEMORY_MIB,
        )

    async def configure(self, vm: VmName, *, cpus: int, memory_mib: int) -> None:
        """Set what the next start gives to ``vm``."""
        self._machines.save(replace(self._known(vm), cpus=cpus, memory_mib=memory_mib))

    async def start(self, vm: VmName, launch: Launch) -> None:
        """Start ``vm``, with a virtiofsd for each mount."""
        machine = self._known(vm)
        run = self._machines.running(vm)
        if run is None:
            await self._power.on(machine, launch)
        elif run.port is None:
            await self._power.see_up(vm, run)

    async def address(self, vm: VmName) -> Endpoint | None:
        """Tell which port of this host leads to the guest's port 22."""
        run = self._machines.running(vm)
        if run is None:
            return None
        port = run.port
        if port is None:  # the command that started it was ended before it could ask
            try:
                port = await self._power.ask_port(vm, run)
            except HypervisorError:
                return None
        return None if port is None else Endpoint("127.0.0.1", port)

    async def agent_ready(self, vm: VmName) -> bool:
        """Tell whether the guest's agent answers within a second."""
        run = self._machines.running(vm)
        if run is None:
            return False
        agent = Agent(socket=run.sockets / AGENT, clock=self._clock)
        return await agent.answers(deadline_s=_AGENT_READY_S)

    async def execute(
        self, vm: VmName, command: GuestCommand, on_output: OnOutput | None = None
    ) -> GuestExit:
        """Run ``command`` in the guest by its agent."""
        run = self._machines.running(vm)
        if run is None:
            raise VmNotRunningError(f"the VM {vm} does not run", hint="`tachikoma spawn` starts it")
        agent = Agent(socket=run.sockets / AGENT, clock=self._clock)
        return await guest_exec.execute(agent, command, on_output, self._clock)

    async def stop(self, vm: VmName, *, grace_s: float) -> None:
        """Shut the guest down, by force after ``grace_s``."""
        await self._power.off(vm, grace_s=grace_s)

    async def delete(self, vm: VmName) -> None:
        """Remove a stopped VM and every file of it."""
        if self._machines.running(vm) is not None:
            raise HypervisorError(f"the VM {vm} still runs", hint="stop it first: `tachikoma halt`")
        await self._power.off(vm, grace_s=0)  # what a crash has left of its last run
        if self._machines.home(vm).path.is_dir():
            async with self._machines.claimed(vm) as home:
                self._machines.remove(home)
        self._power.clear_sockets(vm)
        await self._machines.sweep()

    def proxy_endpoint(self, proxy: Endpoint) -> Endpoint:
        """Tell at which address a guest reaches the credential proxy listening at ``proxy``."""
        return Endpoint(GUEST_PROXY_HOST, proxy.port)

    def log_of(self, vm: VmName) -> str:
        """Say where the guest's console is written; QEMU's own log is beside it."""
        return str(self._machines.home(vm).console)

    async def checks(self) -> list[Check]:
        """Look at what this machine has of what the engine takes."""
        return await probe.checks(self._verdict)

    def _known(self, vm: VmName) -> Machine:
        machine = self._machines.load(vm)
        if machine is None:
            raise VmNotFoundError(f"there is no VM {vm}", hint="`tachikoma list` shows all VMs")
        return machine

    def _refuse_existing(self, vm: VmName) -> None:
        if self._machines.home(vm).machine.exists():
            raise VmExistsError(
                f"there is a VM {vm} already", hint=f"`tachikoma destroy {vm}` removes it"
            )

    def _image(self, name: str) -> tuple[Path, dict[str, Any]]:
        """Give the directory that holds the image now, whatever is built under its name later."""
        base = self._images / name
        if is_vm_name(name):  # and so is no path to somewhere else
            try:
                base = base.resolve(strict=True)
                return base, json.loads((base / "image.json").read_bytes())
            except FileNotFoundError:
                pass
            except (OSError, ValueError) as error:
                raise ImageError(
                    f"the image {name} cannot be read: {error}",
                    hint=f"`tachikoma image build {name} --rebuild` makes it anew",
                ) from error
        raise ImageNotFoundError(
            f"there is no image {name}", hint=f"`tachikoma image build {name}` makes it"
        )


async def _make_overlay(img: str, backing: Path, overlay: Path) -> None:
    overlay.unlink(missing_ok=True)
    try:
        await process.run(overlay_argv(img, backing, overlay), deadline_s=_OVERLAY_S)
    except CommandFailed as error:
        if "No space left" in error.stderr:
            raise DiskFullError(
                f"no space is left on the disk that holds {overlay}",
                hint="free some space (`tachikoma list` shows what each VM takes)",
            ) from error
        raise


def _disk_bytes(home: Home) -> int:
    with files.translated(home.path):
        try:
            return sum(path.stat().st_blocks * _BLOCK for path in home.path.iterdir())
        except FileNotFoundError:
            return 0  # deleted meanwhile
