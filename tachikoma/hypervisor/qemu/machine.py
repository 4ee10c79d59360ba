"""The files of the VMs: what each is, what runs of it, and who may change it.

``vms/<name>/machine.json`` is written last when a VM is made and removed first when it is
deleted: there is a VM exactly as long as that file is there. ``run.json`` says which processes
are the running VM; it is believed only while those processes live, so nobody has to remove it.
Who makes, runs or deletes a VM holds ``lock``; QEMU itself holds it while it runs.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tachikoma.host import files, process
from tachikoma.host.clock import Clock, attempts
from tachikoma.host.paths import private_dir
from tachikoma.model.errors import HostError, HypervisorError
from tachikoma.model.names import VmName, is_vm_name

_VERSION = 1
# A QEMU that was just killed holds its lock for a moment longer.
_CLAIM_S = 1.0
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Machine:
    """What a VM is, running or not. ``base`` is the directory of the image it stands on.

    ``fresh`` tells that it has never run: its first start may put another disk in its place.
    ``snapshot`` is the directory of the snapshot that its disk stands on, if that was from one.
    """

    name: VmName
    uuid: str
    mac: str
    image: str
    base: Path
    cmdline: str
    cpus: int
    memory_mib: int
    fresh: bool = False
    snapshot: Path | None = None


@dataclass(frozen=True, slots=True)
class Process:
    """A process of ours: its id, and what tells it from a later one with the same id."""

    pid: int
    started: str

    def lives(self) -> bool:
        """Tell whether it still runs."""
        return process.start_time(self.pid) == self.started


@dataclass(frozen=True, slots=True)
class Run:
    """What runs of a VM: its processes, where its sockets are, and its SSH port once known.

    ``memory`` is the number of QEMU's descriptor for the guest's memory. ``waiting`` tells that
    QEMU was started to go on from a saved state and has not got there yet, ``starter`` which
    command started it: if that has ended, it waits in vain.
    """

    boot_id: str
    sockets: Path
    qemu: Process
    daemons: tuple[Process, ...]
    memory: int = -1
    waiting: bool = False
    starter: Process | None = None
    port: int | None = None

    @property
    def abandoned(self) -> bool:
        """Tell whether it waits for a command that has ended."""
        return self.waiting and not (self.starter is not None and self.starter.lives())


@dataclass(frozen=True, slots=True)
class Home:
    """The files of one VM."""

    path: Path

    @property
    def machine(self) -> Path:
        """What the VM is; its presence is the VM's existence."""
        return self.path / "machine.json"

    @property
    def run(self) -> Path:
        """What runs of it."""
        return self.path / "run.json"

    @property
    def lock(self) -> Path:
        """Held by who makes, runs or deletes it."""
        return self.path / "lock"

    @property
    def disk(self) -> Path:
        """What differs from the image."""
        return self.path / "disk.qcow2"

    @property
    def saved(self) -> Path:
        """The memory of a suspended VM (a directory)."""
        return self.path / "saved"

    @property
    def console(self) -> Path:
        """What the guest's console said since the last start."""
        return self.path / "console.log"

    @property
    def log(self) -> Path:
        """What QEMU and the virtiofsd daemons said since the last start."""
        return self.path / "qemu.log"


class Machines:
    """All VMs of one data directory."""

    def __init__(self, *, directory: Path, clock: Clock) -> None:
        self._directory = directory
        self._clock = clock

    def home(self, vm: VmName) -> Home:
        """Say where the files of ``vm`` are, whether there is one or not."""
        return Home(self._directory / vm)

    def names(self) -> list[VmName]:
        """List the VMs by name; a half-made one is not among them."""
        return [VmName(path.name) for path in self._entries() if Home(path).machine.is_file()]

    def load(self, vm: VmName) -> Machine | None:
        """Give what ``vm`` is; None if there is none.

        Raises:
            HypervisorError: its file is not what tachikoma wrote.
        """
        path = self.home(vm).machine
        try:
            with files.translated(path):
                return decode_machine(json.loads(path.read_bytes()))
        except HostError:
            if not path.exists():
                return None
            raise
        except (ValueError, KeyError, TypeError) as error:
            raise HypervisorError(
                f"{path} cannot be read: {error!r}",
                hint=f"`tachikoma destroy {vm}` removes the VM; its worktree and branch stay",
            ) from error

    def save(self, machine: Machine) -> None:
        """Write what a VM is; from the first time on it exists."""
        path = self.home(machine.name).machine
        files.write_atomically(path, json.dumps(encode_machine(machine), indent=2).encode())

    def running(self, vm: VmName) -> Run | None:
        """Give what runs of ``vm``; None if it is stopped or absent, or if the command that was
        about to restore it was ended before it could.
        """
        run = self.alive(vm)
        return run if run is not None and not run.waiting else None

    def alive(self, vm: VmName) -> Run | None:
        """Give what runs of ``vm``, even if it only waits to be restored."""
        run = self._recorded(vm)
        return run if run is not None and run.qemu.lives() else None

    def starting(self, vm: VmName) -> bool:
        """Tell whether something is about to run of ``vm`` of which there is no record yet: a start
        goes on when the command that began it is killed.
        """
        return self._recorded(vm) is None and self.locked(vm)

    def locked(self, vm: VmName) -> bool:
        """Tell whether somebody makes, runs or deletes ``vm`` just now."""
        try:
            descriptor = os.open(self.home(vm).lock, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def left_over(self, vm: VmName) -> Run | None:
        """Give what was last known to run of ``vm`` since this host booted, dead or alive."""
        return self._recorded(vm)

    def note_port(self, vm: VmName, run: Run, port: int | None) -> Run:
        """Write down that ``vm`` runs, and at which port of this host it answers SSH."""
        known = replace(run, port=port, waiting=False)
        files.write_atomically(self.home(vm).run, json.dumps(encode_run(known)).encode())
        return known

    @contextlib.asynccontextmanager
    async def claimed(self, vm: VmName, *, make: bool = False) -> AsyncIterator[Home]:
        """Keep everybody else from making, starting or deleting ``vm``.

        ``make`` makes its directory if need be; without it the directory must be there.

        Raises:
            HypervisorError: somebody else has claimed it, or it runs.
        """
        home = self.home(vm)
        if make:
            private_dir(self._directory)
            with files.translated(home.path):
                home.path.mkdir(mode=0o700, exist_ok=True)
        async for _ in attempts(self._clock, deadline_s=_CLAIM_S, most_s=0.1):
            if (descriptor := self.lock(home)) is not None:
                break
        else:
            raise claimed_by_another(vm)
        try:
            yield home
        finally:
            os.close(descriptor)

    def lock(self, home: Home) -> int | None:
        """Claim a VM for as long as the descriptor that this gives, or a copy of it in another
        process, is open; None if somebody else has claimed it.

        Raises:
            HostError: the VM has no directory.
        """
        # Opened each time: who deletes the VM takes the file away with it.
        with files.translated(home.lock):
            descriptor = os.open(home.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_nlink:
                return descriptor
        os.close(descriptor)
        return None

    def remove(self, home: Home) -> None:
        """Remove the files of a claimed VM; it is gone as soon as this begins."""
        with files.translated(home.path):
            home.machine.unlink(missing_ok=True)
            shutil.rmtree(home.path)

    async def sweep(self) -> None:
        """Remove what crashed makings and deletions have left behind."""
        for path in self._entries():
            if not Home(path).machine.exists():
                with contextlib.suppress(HypervisorError, HostError):
                    async with self.claimed(VmName(path.name)) as home:
                        if not home.machine.exists():
                            self.remove(home)

    def _entries(self) -> list[Path]:
        with files.translated(self._directory):
            if not self._directory.is_dir():
                return []
            return sorted(path for path in self._directory.iterdir() if is_vm_name(path.name))

    def _recorded(self, vm: VmName) -> Run | None:
        try:
            run = decode_run(json.loads(self.home(vm).run.read_bytes()))
        except (OSError, ValueError, KeyError, TypeError):
            return None  # none, or cut short by a crash of the host: nothing of it runs
        return run if run.boot_id == boot_id() else None


def claimed_by_another(vm: VmName) -> HypervisorError:
    """Give the error of a VM that stays locked."""
    return HypervisorError(
        f"another process is making, running or deleting the VM {vm}",
        hint="wait for it, or stop the VM first: `tachikoma halt`",
    )


def socket_directory(runtime: Path, vm: VmName) -> Path:
    """Give where the sockets of ``vm`` go: a name short enough for any path of a socket."""
    return runtime / hashlib.sha256(vm.encode()).hexdigest()[:12]


def boot_id() -> str:
    """Give what tells this boot of the host from all others."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def encode_machine(machine: Machine) -> dict[str, Any]:
    """Give ``machine`` as its file holds it."""
    snapshot = None if machine.snapshot is None else str(machine.snapshot)
    paths = {"base": str(machine.base), "snapshot": snapshot}
    return {"version": _VERSION} | asdict(machine) | paths


def decode_machine(raw: dict[str, Any]) -> Machine:
    """Give the machine that a file holds.

    Raises:
        KeyError, TypeError, ValueError: it is not such a file.
    """
    if raw["version"] != _VERSION:
        raise ValueError(f"version {raw['version']} is not known to this tachikoma")
    return Machine(
        name=VmName(str(raw["name"])),
        uuid=str(raw["uuid"]),
        mac=str(raw["mac"]),
        image=str(raw["image"]),
        base=Path(raw["base"]),
        cmdline=str(raw["cmdline"]),
        cpus=int(raw["cpus"]),
        memory_mib=int(raw["memory_mib"]),
        fresh=bool(raw["fresh"]),
        snapshot=None if raw["snapshot"] is None else Path(raw["snapshot"]),
    )


def encode_run(run: Run) -> dict[str, Any]:
    """Give ``run`` as its file holds it (the launcher writes the same)."""
    return asdict(run) | {"sockets": str(run.sockets)}


def decode_run(raw: dict[str, Any]) -> Run:
    """Give what a file says about a running VM.

    Raises:
        KeyError, TypeError, ValueError: it is not such a file.
    """
    return Run(
        boot_id=str(raw["boot_id"]),
        sockets=Path(raw["sockets"]),
        qemu=_process(raw["qemu"]),
        daemons=tuple(_process(daemon) for daemon in raw["daemons"]),
        memory=int(raw["memory"]),
        waiting=bool(raw.get("waiting", False)),
        starter=None if raw.get("starter") is None else _process(raw["starter"]),
        port=None if raw.get("port") is None else int(raw["port"]),
    )


def _process(raw: dict[str, Any]) -> Process:
    return Process(pid=int(raw["pid"]), started=str(raw["started"]))
