"""Tart as an engine: ``Hypervisor`` for Macs with Apple Silicon."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
from pathlib import Path

from tachikoma.host import files, process, tasks
from tachikoma.host.clock import Clock
from tachikoma.hypervisor.port import OnOutput
from tachikoma.hypervisor.qemu.images_claude import VERSION as CLAUDE_VERSION
from tachikoma.hypervisor.tart import argv, guest_exec, probe
from tachikoma.hypervisor.tart.addresses import Addresses
from tachikoma.hypervisor.tart.catalogue import checkpoint_name, source_of
from tachikoma.hypervisor.tart.output import decode_list
from tachikoma.hypervisor.tart.power import Power
from tachikoma.hypervisor.tart.program import Program
from tachikoma.hypervisor.tart.records import Record, Records
from tachikoma.model.checks import Check
from tachikoma.model.errors import (
    CommandFailed,
    HypervisorError,
    ImageNotFoundError,
    TachikomaError,
    UnsupportedError,
    VmExistsError,
    VmNotFoundError,
)
from tachikoma.model.events import Report
from tachikoma.model.names import PREFIX, VmName, is_vm_name
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

_CLONE_S = 600.0
_AGENT_READY_S = 3.0
_SOFTNET = "softnet"
_WILDCARDS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - recognised, never bound
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_AVAILABLE = Feature(available=True)


class Tart:
    """The VMs of this user's Tart whose names are ours; see ``Hypervisor`` for the promises.

    ``records`` is what Tart cannot tell. A VM by another name is none of ours: it is an image to
    make VMs from, at most.
    """

    def __init__(
        self, *, program: Program, records: Records, addresses: Addresses, clock: Clock
    ) -> None:
        self._program = program
        self._records = records
        self._addresses = addresses
        self._power = Power(program=program, records=records, clock=clock)
        self._clock = clock

    @property
    def features(self) -> Features:
        """What this engine can do, as data."""
        return Features(
            engine="tart",
            suspend=Feature(
                available=False,
                why="Tart cannot continue a suspended Linux VM; it is halted instead",
            ),
            instant_spawn=Feature(
                available=False, why="Tart cannot start a Linux VM from a snapshot"
            ),
            checkpoints=Feature(available=True, why="of a VM that is stopped"),
            proxy_network=_AVAILABLE
            if process.which(_SOFTNET)
            else Feature(
                available=False, why="it takes Softnet: `brew install openai/tools/softnet`"
            ),
            build_images=Feature(
                available=False,
                why="Tart's images come from registries: `tachikoma image pull`",
            ),
            default_network=Network.OPEN,
            default_image="ubuntu",
            forwards_ssh=False,
            proxy_bind=argv.GATEWAY,
            pull_images=_AVAILABLE,
            share_name=argv.SHARE_NAME,
            public_host_keys=True,
            claude_version=CLAUDE_VERSION,
        )

    async def vms(self) -> list[VmInfo]:
        """List our VMs by name, running or not."""
        names = sorted(name for name in await self._local() if _is_ours(name))
        seen = await asyncio.gather(*(self.find(VmName(name)) for name in names))
        return [info for info in seen if info is not None]

    async def find(self, vm: VmName) -> VmInfo | None:
        """Look one VM up; None also for one that is not ours or half-made."""
        record = self._records.load(vm)
        if not _is_ours(vm) or (record is not None and not record.made):
            return None
        described = await self._power.described(vm)
        if described is None:
            return None
        return VmInfo(
            name=vm,
            state=self._power.state(vm, described.state),
            image=record.image if record is not None else "",
            cpus=described.cpus,
            memory_mib=described.memory_mib,
            disk_bytes=described.size_bytes,
        )

    async def clone(self, image: str, vm: VmName) -> None:
        """Copy ``image`` and give the copy a MAC address of its own.

        Tart would silently overwrite a VM of that name, so what there is is looked at first. A
        half-made VM, whose making was killed, is removed first.
        """
        await self._program.prove()
        _refuse_strange(vm)
        entries = decode_list(await self._listed())
        source = source_of(image, entries)
        if source is None:
            raise ImageNotFoundError(
                f"there is no image {image}", hint=f"`tachikoma image pull {image}` fetches it"
            )
        with self._records.making(vm):
            record = self._records.load(vm)
            if vm in await self._local():
                if record is None or record.made:
                    raise VmExistsError(
                        f"there is a VM {vm} already", hint=f"`tachikoma destroy {vm}` removes it"
                    )
                await self._remove(vm)
            self._records.save(vm, Record(image=image, made=False))
            try:
                await self._program.text(argv.clone_argv(source, vm), deadline_s=_CLONE_S)
                await self._program.text(argv.renew_mac_argv(vm))
                self._records.save(vm, Record(image=image, made=True))
            except BaseException:
                undo = tasks.spawn(self._undo(vm), name="remove a half-made VM")
                await asyncio.shield(undo)
                raise

    async def configure(self, vm: VmName, *, cpus: int, memory_mib: int) -> None:
        """Set what the next start gives to ``vm``."""
        await self._known(vm)
        await self._program.text(argv.resources_argv(vm, cpus=cpus, memory_mib=memory_mib))

    async def warm(self, image: str, *, cpus: int, memory_mib: int, report: Report) -> None:
        """Do nothing: Tart cannot start a Linux VM from a snapshot."""
        del image, cpus, memory_mib, report

    async def start(self, vm: VmName, launch: Launch) -> None:
        """Run ``vm`` detached, and come back when it does."""
        info = await self._known(vm)
        if info.state is not VmState.RUNNING:
            _refuse_deaf_proxy(launch.proxy)
            await self._program.prove()
        await self._power.on(vm, launch, info.state)

    async def address(self, vm: VmName) -> Endpoint | None:
        """Ask Tart for the guest's address, three ways."""
        info = await self.find(vm)
        if info is None or info.state is not VmState.RUNNING:
            return None
        return await self._addresses.of(vm)

    async def agent_ready(self, vm: VmName) -> bool:
        """Tell whether the guest's agent runs a command within a moment."""
        if not self._power.has_control(vm):
            return False
        word = secrets.token_hex(8)
        heard: list[bytes] = []
        line = argv.exec_argv(vm, ("echo", word), stdin=False)
        try:
            await self._program.listen(
                line, lambda _, piece: heard.append(piece), deadline_s=_AGENT_READY_S
            )
        except CommandFailed:
            return False
        return word.encode() in b"".join(heard)

    async def execute(
        self, vm: VmName, command: GuestCommand, on_output: OnOutput | None = None
    ) -> GuestExit:
        """Run ``command`` in the guest by its agent."""
        return await guest_exec.execute(self._program, vm, command, on_output)

    async def suspend(self, vm: VmName) -> None:
        """Refuse: Tart would lose the VM's memory."""
        raise UnsupportedError(
            f"the VM {vm} cannot be suspended: {self.features.suspend.why}",
            hint="`tachikoma halt` shuts it down and keeps its disk",
        )

    async def stop(self, vm: VmName, *, grace_s: float) -> None:
        """Shut the guest down from within, then by its power button, then by force."""
        if _is_ours(vm):
            await self._power.off(vm, grace_s=grace_s)

    async def delete(self, vm: VmName) -> None:
        """Remove a stopped VM and every file of it, half-made ones too."""
        if not _is_ours(vm):
            return
        described = await self._power.described(vm)
        state = VmState.STOPPED if described is None else described.state
        if self._power.state(vm, state) is VmState.RUNNING:
            raise HypervisorError(f"the VM {vm} still runs", hint="stop it first: `tachikoma halt`")
        for kept in self._records.kept(vm):
            with contextlib.suppress(VmNotFoundError):
                await self._program.text(argv.delete_argv(checkpoint_name(vm, kept.label)))
        await self._remove(vm)
        self._records.forget(vm)

    def proxy_endpoint(self, proxy: Endpoint) -> Endpoint:
        """Give the proxy's own address: guests reach the host's. All of them means the gateway."""
        return Endpoint(argv.GATEWAY, proxy.port) if proxy.host in _WILDCARDS else proxy

    def log_of(self, vm: VmName) -> str:
        """Say where `tart run` writes; a guest's console is written nowhere."""
        return str(self._records.log(vm))

    async def checks(self) -> list[Check]:
        """Look at what this machine has of what Tart takes."""
        return await probe.checks(self._program, now=self._clock.now())

    async def _listed(self) -> str:
        """Ask for the list, twice if need be: a VM that goes meanwhile makes Tart fail."""
        try:
            return await self._program.text(argv.list_argv())
        except HypervisorError:
            return await self._program.text(argv.list_argv())

    async def _local(self) -> set[str]:
        return {entry.name for entry in decode_list(await self._listed()) if not entry.remote}

    async def _known(self, vm: VmName) -> VmInfo:
        info = await self.find(vm)
        if info is None:
            raise VmNotFoundError(f"there is no VM {vm}", hint="`tachikoma list` shows all VMs")
        return info

    async def _remove(self, vm: VmName) -> None:
        """Remove what Tart has of ``vm``; it leaves a directory that is no VM where it is."""
        with contextlib.suppress(VmNotFoundError):
            await self._program.text(argv.delete_argv(vm))
        left = self._place(vm)
        if left.is_dir() and not (left / "config.json").exists():
            with files.translated(left):
                shutil.rmtree(left)

    async def _undo(self, vm: VmName) -> None:
        with contextlib.suppress(TachikomaError):
            await self._remove(vm)
            self._records.forget(vm)

    def _place(self, vm: VmName) -> Path:
        return self._program.home / "vms" / vm


def _is_ours(name: str) -> bool:
    return name.startswith(PREFIX) and is_vm_name(name)


def _refuse_deaf_proxy(proxy: Endpoint | None) -> None:
    """Refuse a proxy that listens on the host's loopback, where no guest of Tart's can reach it."""
    if proxy is not None and proxy.host in _LOOPBACK:
        raise HypervisorError(
            f"VMs on Tart cannot reach a proxy that listens on {proxy.host}",
            hint=f"leave credential_proxy_bind out: it is {argv.GATEWAY} then, the host as VMs "
            "see it",
        )


def _refuse_strange(vm: VmName) -> None:
    assert _is_ours(vm), f"{vm} is no name of a VM of ours"
