"""How long a new branch takes to its ready VM, cold and from a snapshot.

The subject is ``tachikoma spawn`` for a branch that has neither worktree nor VM, until it comes
back. The reference of a cold one is QEMU as one would start it by hand: the same image, processors,
memory and accelerator, and nothing else, up to the first line of the SSH server. That of a warm
one is the cold one, and the restore of the same snapshot by plain QEMU commands: a sparse copy of
the memory, a disk over that of the snapshot, QEMU, the state, ``cont``, and the answer of the
guest's agent, without any share.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

from bench.figure import Figure, free_port, ratio
from bench.restore import bare_restore, machine_of, snapshot_of
from tachikoma.host.clock import SystemClock, attempts
from tachikoma.host.environ import current
from tachikoma.host.paths import paths_from
from tachikoma.host.process import detach, end_process, run, start_time
from tachikoma.hypervisor.port import OnOutput
from tachikoma.hypervisor.qemu import kvm
from tachikoma.hypervisor.qemu.argv import Accelerator, overlay_argv
from tachikoma.hypervisor.qemu.engine import Qemu
from tachikoma.hypervisor.qemu.images_store import ABOUT, DISK, INITRD, KERNEL
from tachikoma.hypervisor.qemu.machine import Machine
from tachikoma.hypervisor.qemu.probe import QEMU, program
from tachikoma.model.errors import HypervisorError
from tachikoma.model.events import Event, StepEnded, StepStarted
from tachikoma.model.names import VmName
from tachikoma.model.vm import GuestCommand, GuestExit
from tachikoma.runtime import Runtime
from tachikoma.vm.orchestrator import VmOrchestrator
from tachikoma.vm.requests import DestroyRequest, SpawnRequest, Target
from tests.live.image import IMAGE, kept_image

_RUNS = 5
_COUNTED_RUNS = 3
_CPUS, _MEMORY_MIB = 2, 1024
_BOOT_S = 180.0
_BANNER_S = 1.0
_QUICK_S = 60.0
_IDLE_S = 10.0
_MIB = 1 << 20


async def figures() -> AsyncIterator[Figure]:
    """Measure a cold spawn, and count how often provisioning asks the guest."""
    program(QEMU)
    data = await kept_image(current())
    with tempfile.TemporaryDirectory(prefix="tkb-") as base:
        place = await _Place.furnished(Path(base), data)
        try:
            cold, warm = place.cold_spawn, place.warm_spawn
            yield await ratio("cold_spawn/bare_boot", cold, place.bare_boot, runs=_RUNS)
            await place.tachikoma("image", "warm")
            yield await ratio("warm_spawn/cold_spawn", warm, cold, runs=_RUNS)
            yield await ratio("warm_spawn/bare_restore", warm, place.bare_restore, runs=_RUNS)
            for figure in await place.sizes():
                yield figure
            yield await place.round_trips()
        finally:
            await place.tachikoma("proxy", "stop", check=False)


class _Place:
    """A user with a repository, an image, and nothing else."""

    def __init__(self, base: Path, data: Path) -> None:
        self._base = base
        self._home = base / "home"
        self._repository = self._home / "app"
        self._image = (data / "images" / IMAGE).resolve()
        self._config = self._home / ".config" / "tachikoma" / "config.toml"
        self._settings = (
            f"vm_cpus = {_CPUS}\nvm_memory = {_MEMORY_MIB}\nboot_timeout_secs = {_BOOT_S:.0f}\n"
            f"credential_proxy_port = {free_port()}\n"
        )
        self._number = itertools.count()
        runtime = base / "run"
        runtime.mkdir(mode=0o700)
        self._environ = {
            "HOME": str(self._home),
            "XDG_CONFIG_HOME": "",
            "XDG_DATA_HOME": "",
            "XDG_CACHE_HOME": "",
            "XDG_RUNTIME_DIR": str(runtime),
            "ANTHROPIC_API_KEY": "sk-ant-api03-for-nobody",
        }

    @classmethod
    async def furnished(cls, base: Path, data: Path) -> _Place:
        place = cls(base, data)
        kept = place._home / ".local" / "share" / "tachikoma"
        kept.mkdir(parents=True)
        (kept / "images").symlink_to(data / "images")
        place._config.parent.mkdir(parents=True)
        place._configure(instant_spawn=True)
        at = str(place._repository)
        who = ("-c", "user.name=bench", "-c", "user.email=bench@example.org")
        for argv in (
            ("git", "init", "-q", "-b", "main", at),
            ("git", *who, "-C", at, "commit", "-q", "--allow-empty", "-m", "First"),
        ):
            await run(argv, deadline_s=_QUICK_S, env=place._environ)
        return place

    async def tachikoma(self, *argv: str, check: bool = True) -> None:
        await run(
            [sys.executable, "-m", "tachikoma", *argv],
            deadline_s=_BOOT_S + _QUICK_S,
            env=self._environ,
            cwd=self._repository if self._repository.is_dir() else self._home,
            check=check,
        )

    async def cold_spawn(self) -> float:
        """Spawn a branch whose VM boots."""
        self._configure(instant_spawn=False)
        return await self._spawn()

    async def warm_spawn(self) -> float:
        """Spawn a branch whose VM goes on from the snapshot."""
        self._configure(instant_spawn=True)
        return await self._spawn()

    def _configure(self, *, instant_spawn: bool) -> None:
        word = "true" if instant_spawn else "false"
        text = f"{self._settings}instant_spawn = {word}\n"
        self._config.write_text(text, encoding="utf-8")

    async def _spawn(self) -> float:
        """Spawn a branch that was never there; its VM is gone again afterwards."""
        branch = f"bench-{next(self._number)}"
        began = time.perf_counter()
        try:
            await self.tachikoma("spawn", branch, "--no-interactive")
            return time.perf_counter() - began
        finally:
            await self.tachikoma("destroy", branch, "--force", check=False)

    async def bare_boot(self) -> float:
        """Boot the image by hand until its SSH server speaks."""
        overlay, port = self._base / "bare.qcow2", free_port()
        argv = await self._bare_argv(overlay, port)
        began = time.perf_counter()
        await run(
            overlay_argv("qemu-img", self._image / DISK, overlay),
            deadline_s=_QUICK_S,
        )
        pid = detach(argv, log=self._base / "bare.log")
        started = start_time(pid)
        try:
            async for _ in attempts(SystemClock(), deadline_s=_BOOT_S, most_s=0.1):
                if await _speaks_ssh(port):
                    return time.perf_counter() - began
            raise HypervisorError(
                "the image does not boot", details=(self._base / "bare.log").read_text()
            )
        finally:
            end_process(pid, started=started, grace_s=0)
            overlay.unlink()

    async def bare_restore(self) -> float:
        """Go on from the snapshot by hand until the guest's agent answers."""
        return await bare_restore(self._machine(), self._base)

    def _machine(self) -> Machine:
        about = json.loads((self._image / ABOUT).read_bytes())
        return machine_of(self._image, about["kernel_cmdline"], _CPUS, _MEMORY_MIB)

    async def sizes(self) -> list[Figure]:
        """Say what a snapshot, a fresh VM and an idle one take up."""
        branch = f"bench-{next(self._number)}"
        vms = self._home / ".local" / "share" / "tachikoma" / "vms"
        try:
            await self.tachikoma("spawn", branch, "--no-interactive")
            (vm,) = vms.iterdir()
            disk = sum(path.stat().st_blocks * 512 for path in vm.rglob("*"))
            await asyncio.sleep(_IDLE_S)
            running = json.loads((vm / "run.json").read_bytes())
            processes = [running["qemu"], *running["daemons"]]
            memory = sum(_resident(each["pid"]) for each in processes)
        finally:
            await self.tachikoma("destroy", branch, "--force", check=False)
        saved = (await snapshot_of(self._machine(), self._base)).size_bytes
        size = f"of {_MEMORY_MIB} MiB"
        return [
            Figure("snapshot_mib", saved / _MIB, f"on disk, of a machine {size}"),
            Figure("fresh_vm_disk_mib", disk / _MIB, "on disk, just spawned"),
            Figure("idle_vm_memory_mib", memory / _MIB, f"QEMU and its daemons, {size}"),
        ]

    async def _bare_argv(self, overlay: Path, port: int) -> list[str]:
        qemu = program(QEMU)
        accelerator = (await kvm.verdict(qemu, self._base / "kvm.json")).accelerator
        how = "kvm" if accelerator is Accelerator.KVM else "tcg,thread=multi"
        about = json.loads((self._image / ABOUT).read_bytes())
        return [
            qemu,
            *("-nodefaults", "-no-user-config", "-display", "none"),
            *("-machine", "q35", "-accel", how, "-cpu", "max"),
            *("-smp", f"cpus={_CPUS}", "-m", f"{_MEMORY_MIB}M"),
            *("-kernel", str(self._image / KERNEL), "-initrd", str(self._image / INITRD)),
            *("-append", about["kernel_cmdline"]),
            *("-drive", f"file={overlay},format=qcow2,if=virtio"),
            *("-netdev", f"user,id=net,hostfwd=tcp:127.0.0.1:{port}-:22"),
            *("-device", "virtio-net-pci,netdev=net", "-device", "virtio-rng-pci"),
        ]

    async def round_trips(self) -> Figure:
        """Count the commands that are sent to the guest while it is being provisioned."""
        counts = [await self._counted() for _ in range(_COUNTED_RUNS)]
        return Figure(
            "provision_round_trips",
            statistics.median(counts),
            f"commands sent to the guest, median of {len(counts)} cold spawns",
        )

    async def _counted(self) -> int:
        runtime = Runtime(environ=current() | self._environ, cwd=self._repository)
        await runtime.load_settings()
        paths = paths_from(runtime.environ)
        engine = _Counting(data=paths.data, runtime=paths.runtime, clock=runtime.clock)
        heart = VmOrchestrator(ports=replace(runtime.ports, hypervisor=engine))
        branch = f"bench-{next(self._number)}"
        try:
            await heart.spawn(SpawnRequest(self._repository, branch), engine.hear)
        finally:
            request = DestroyRequest(Target(self._repository, branch), force=True)
            await heart.destroy(request, engine.hear)
        return engine.count


class _Counting(Qemu):
    """QEMU that counts what it is asked to execute during provisioning."""

    count = 0
    _provisioning = False

    def hear(self, event: Event) -> None:
        match event:
            case StepStarted(name="provision"):
                self._provisioning = True
            case StepEnded(name="provision"):
                self._provisioning = False
            case _:
                pass

    async def execute(
        self, vm: VmName, command: GuestCommand, on_output: OnOutput | None = None
    ) -> GuestExit:
        self.count += self._provisioning
        return await super().execute(vm, command, on_output)


def _resident(pid: int) -> int:
    """Give the bytes of memory that a process takes up, what it shares counted by parts."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) << 10
    return 0


async def _speaks_ssh(port: int) -> bool:
    """Tell whether the guest's SSH server answers; QEMU itself takes connections before."""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(_BANNER_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                return (await reader.read(4)) == b"SSH-"
            finally:
                writer.close()
    return False
