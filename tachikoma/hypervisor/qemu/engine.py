"""QEMU as an engine: ``Hypervisor`` for Linux hosts, with or without hardware virtualisation."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

from tachikoma.host import files, process
from tachikoma.host.clock import Clock
from tachikoma.hypervisor.port import OnOutput
from tachikoma.hypervisor.qemu import guest_exec, probe
from tachikoma.hypervisor.qemu import suspend as suspending
from tachikoma.hypervisor.qemu.agent import Agent
from tachikoma.hypervisor.qemu.argv import DEFAULT_CMDLINE, GUEST_PROXY_HOST, overlay_argv
from tachikoma.hypervisor.qemu.awake import Awake
from tachikoma.hypervisor.qemu.machine import Home, Machine, Machines, Run
from tachikoma.hypervisor.qemu.power import AGENT, Power
from tachikoma.hypervisor.qemu.restore import NotRestoredError, Restore
from tachikoma.hypervisor.qemu.snapshot import Saved, Snapshots
from tachikoma.hypervisor.qemu.warming import Warming
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
from tachikoma.model.events import Report
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

_log = logging.getLogger(__name__)

FEATURES = Features(
    engine="qemu",
    suspend=Feature(available=True, why="when nothing in the VM uses its shared directories"),
    instant_spawn=Feature(available=True),
    checkpoints=Feature(available=True),
    proxy_network=Feature(available=True),
    build_images=Feature(available=True),
    default_network=Network.PROXY,
    default_image="debian",
    forwards_ssh=True,
    proxy_bind="127.0.0.1",
)

_AGENT_READY_S = 1.0
_OVERLAY_S = 30.0
_CPUS = 2
_MEMORY_MIB = 2048
_BLOCK = 512
_HALF_SUSPENDED_S = 20.0
"""For a guest without its shares, and perhaps paused, to shut down in."""


class Qemu:
    """VMs below ``data``, run by QEMU; see ``Hypervisor`` for what its methods promise.

    ``data`` holds ``images/`` and ``vms/``; ``runtime``, with a short path, the sockets.
    ``snapshots``: new VMs go on from a golden machine where there is one; it has compiled
    ``programs`` ahead, Python for the guest that each of them will be asked to run.
    """

    def __init__(
        self,
        *,
        data: Path,
        runtime: Path,
        clock: Clock,
        snapshots: bool = True,
        programs: tuple[str, ...] = (),
    ) -> None:
        self._images = data / "images"
        self._verdict = data / "kvm.json"
        self._clock = clock
        self._machines = Machines(directory=data / "vms", clock=clock)
        self._power = Power(
            machines=self._machines, runtime=runtime, verdict=self._verdict, clock=clock
        )
        self._snapshots = snapshots
        self._awake: dict[VmName, Awake] = {}
        self._warming = Warming(
            data=data, runtime=runtime, verdict=self._verdict, clock=clock, programs=programs
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
        resting = VmState.SUSPENDED if Saved(home.saved).about.exists() else VmState.STOPPED
        return VmInfo(
            name=vm,
            state=VmState.RUNNING if running else resting,
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
        does it the other way round). A first start from a snapshot puts another disk in its place.
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
            fresh=True,
        )

    async def configure(self, vm: VmName, *, cpus: int, memory_mib: int) -> None:
        """Set what the next start gives to ``vm``."""
        self._machines.save(replace(self._known(vm), cpus=cpus, memory_mib=memory_mib))

    async def warm(self, image: str, *, cpus: int, memory_mib: int, report: Report) -> None:
        """Make the golden snapshot that new VMs of ``image`` and this size go on from."""
        if self._snapshots:
            like = replace(self._machine(VmName("new"), image), cpus=cpus, memory_mib=memory_mib)
            await self._warming.warm(like, report)

    async def start(self, vm: VmName, launch: Launch) -> None:
        """Start ``vm``, with a virtiofsd for each mount."""
        machine = self._known(vm)
        run = self._machines.running(vm)
        if run is None:
            await self._start(machine, launch)
        elif run.port is None:
            await self._power.see_up(vm, run)

    async def _start(self, machine: Machine, launch: Launch) -> None:
        await self._power.end_abandoned(machine.name)
        if machine.fresh:
            if self._snapshots and (saved := await self._warming.find(machine)) is not None:
                try:
                    await self._start_from(saved, machine, launch)
                except NotRestoredError as error:
                    _log.warning("%s: %s", error, error.details)
                    Snapshots(machine.base).discard(saved, used=self._warming.used())
                else:
                    return
            machine = replace(machine, snapshot=None)
            await self._make_disk(machine, machine.base / "disk.qcow2")
            machine = replace(machine, fresh=False)
            self._machines.save(machine)
        elif await self._resume(machine, launch):
            return
        await self._power.on(machine, launch)

    async def _resume(self, machine: Machine, launch: Launch) -> bool:
        """Go on with a suspended VM; False if it is none, or cannot go on and has to boot."""
        saved = Saved(self._machines.home(machine.name).saved)
        if not saved.about.exists():
            return False
        try:
            if saved.whole(await self._warming.key(machine)):
                what = Restore(saved=saved, golden=False, commit=saved.spend)
                await self._power.on(machine, launch, restoring=what)
                return True
            _log.warning("%s boots: its memory fits neither its settings nor QEMU", machine.name)
        except NotRestoredError as error:
            _log.warning("%s: %s", error, error.details)
        finally:
            saved.remove()
        return False

    async def suspend(self, vm: VmName) -> None:
        """Keep the memory of ``vm`` on the disk and end all that runs of it."""
        machine = self._known(vm)
        run = self._running(vm)
        home = self._machines.home(vm)
        key = await self._warming.key(machine)
        suspending.check_space(run, home)
        await suspending.detach_shares(run, self._clock)
        try:
            await suspending.save(run, home, key)
        except BaseException:
            Saved(home.saved).remove()
            await asyncio.shield(self._power.off(vm, grace_s=_HALF_SUSPENDED_S))
            raise
        await self._power.off(vm, grace_s=0)

    async def _start_from(self, saved: Saved, machine: Machine, launch: Launch) -> None:
        """Start a VM that has never run as a copy of a machine that has."""
        machine = replace(machine, snapshot=saved.path)
        await self._make_disk(machine, saved.disk)
        golden = Restore(
            saved=saved,
            golden=True,
            commit=lambda: self._machines.save(replace(machine, fresh=False)),
        )
        awake = await self._power.on(machine, launch, restoring=golden)
        if awake is not None:
            self._awake[machine.name] = awake

    async def _make_disk(self, machine: Machine, backing: Path) -> None:
        self._machines.save(machine)  # first: it says what its disk stands on
        async with self._machines.claimed(machine.name) as home:
            await _make_overlay(probe.program("qemu-img"), backing, home.disk)

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
        if vm in self._awake:
            return True
        run = self._machines.running(vm)
        if run is None:
            return False
        agent = Agent(socket=run.sockets / AGENT, clock=self._clock)
        return await agent.answers(deadline_s=_AGENT_READY_S)

    async def execute(
        self, vm: VmName, command: GuestCommand, on_output: OnOutput | None = None
    ) -> GuestExit:
        """Run ``command`` in the guest by its agent, or by an interpreter that is awake there."""
        if (awake := self._awake.pop(vm, None)) is not None:
            if awake.can_run(command):
                return await awake.run(command, on_output)
            awake.close()
        agent = Agent(socket=self._running(vm).sockets / AGENT, clock=self._clock)
        return await guest_exec.execute(agent, command, on_output, self._clock)

    async def stop(self, vm: VmName, *, grace_s: float) -> None:
        """Shut the guest down, by force after ``grace_s``."""
        if (awake := self._awake.pop(vm, None)) is not None:
            awake.close()
        await self._power.off(vm, grace_s=grace_s)
        if self._machines.load(vm) is not None:
            Saved(self._machines.home(vm).saved).remove()

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

    def _known(self, vm: VmName) -> Machine:
        machine = self._machines.load(vm)
        if machine is None:
            raise VmNotFoundError(f"there is no VM {vm}", hint="`tachikoma list` shows all VMs")
        return machine

    def _running(self, vm: VmName) -> Run:
        run = self._machines.running(vm)
        if run is None:
            raise VmNotRunningError(f"the VM {vm} does not run", hint="`tachikoma spawn` starts it")
        return run

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
            return sum(path.stat().st_blocks * _BLOCK for path in home.path.rglob("*"))
        except FileNotFoundError:
            return 0  # deleted meanwhile
