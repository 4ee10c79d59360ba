"""The files of Tart: VMs, images, locks, and what a registry holds."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.doubles.tart_double.contract import Fail, absent, is_reference

GB = 1_000_000_000
PARTS = ("config.json", "disk.img", "nvram.bin")
_FLOCK = "hhqqi"


class Store:
    """One ``$TART_HOME``."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        own = environ.get("TART_HOME")
        self.home = Path(own) if own else Path(environ["HOME"]) / ".tart"
        self.own = self.home / "double"
        try:
            for place in (self.vms, self.home / "cache" / "OCIs", self.home / "tmp", self.own):
                place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Fail(
                1,
                f"TART_HOME is invalid: {self.home} does not exist, yet we can't create it: "
                f"{error.strerror}",
            ) from error

    @property
    def vms(self) -> Path:
        return self.home / "vms"

    @property
    def registry(self) -> Path:
        return self.own / "registry"

    # Settings of the double

    @property
    def settings(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self.own / "settings.json").read_bytes())
        except FileNotFoundError:
            return {}
        return found

    def set(self, **changes: Any) -> None:
        temporary = self.own / f"settings.{secrets.token_hex(4)}"
        temporary.write_text(json.dumps(self.settings | changes))
        temporary.replace(self.own / "settings.json")

    def take_fault(self, command: str) -> str | None:
        """Give the error asked for the next call of ``command``, once."""
        faults = self.settings.get("faults", {})
        name: str | None = faults.pop(command, None)
        if name is not None:
            self.set(faults=faults)
        return name

    def note(self, argv: list[str]) -> None:
        """Remember a command line."""
        with (self.own / "argv.log").open("a") as file:
            file.write(json.dumps(argv) + "\n")

    def emitted(self) -> list[list[str]]:
        """Give every command line so far."""
        try:
            text = (self.own / "argv.log").read_text()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in text.splitlines()]

    # VMs and images

    def vm(self, name: str) -> Path:
        """Open a local VM."""
        place = self.vms / name
        if not place.is_dir() or not (place / "config.json").exists():
            raise absent(name)
        if not all((place / part).exists() for part in PARTS):
            raise Fail(1, "VM is missing some of its files (config.json, disk.img or nvram.bin)")
        return place

    def local_names(self) -> list[str]:
        return sorted(each.name for each in self.vms.iterdir() if is_vm(each))

    def cached(self, name: str) -> Path:
        """Say where an image from a registry is, or would be."""
        path, tag = split(name)
        host, _, rest = path.partition("/")
        return self.home / "cache" / "OCIs" / host.replace(":", "%3A") / rest / tag

    def cached_names(self) -> list[str]:
        base = self.home / "cache" / "OCIs"
        found = []
        for place in base.rglob("*"):
            if (place.is_symlink() or place.name.startswith("sha256:")) and is_vm(place):
                host, *rest = place.parent.relative_to(base).parts
                path = "/".join((host.replace("%3A", ":"), *rest))
                separator = ":" if place.is_symlink() else "@"
                found.append(f"{path}{separator}{place.name}")
        return sorted(found)

    def open(self, name: str) -> Path:
        """Open a local VM or a cached image."""
        if not is_reference(name):
            return self.vm(name)
        place = self.cached(name)
        if not is_vm(place):
            raise absent(name)
        return place.resolve()

    def copy(self, source: Path, target: Path) -> None:
        """Copy what a VM is, and put it at ``target`` in one step, whatever is there."""
        temporary = self.home / "tmp" / secrets.token_hex(8)
        temporary.mkdir()
        for part in (*PARTS, "state.vzvmsave"):
            if (source / part).exists():
                shutil.copyfile(source / part, temporary / part)
        if target.exists():
            shutil.rmtree(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.rename(target)

    def make(self, name: str, *, disk: bytes = b"", **config: Any) -> Path:
        """Make a VM as `tart create --linux` does, with a disk that says what it is."""
        place = self.vms / name
        self.write(place, disk=disk, **config)
        return place

    def write(self, place: Path, *, disk: bytes = b"", **config: Any) -> None:
        place.mkdir(parents=True, exist_ok=True)
        (place / "disk.img").write_bytes(disk)
        (place / "nvram.bin").write_bytes(b"\0" * 4096)
        fresh = {
            "version": 1,
            "os": "linux",
            "arch": "arm64",
            "cpuCountMin": 1,
            "cpuCount": 4,
            "memorySizeMin": 0,
            "memorySize": 4 << 30,
            "macAddress": random_mac(),
            "display": {"width": 1024, "height": 768},
            "diskFormat": "raw",
            "double": {"disk": 20 * GB, "allocated": 2_871_000_000},
        }
        save(place, fresh | config)

    # Locks

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock on the whole home, as clone and the beginning of run do."""
        descriptor = os.open(self.home, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def leases(self) -> dict[str, str]:
        try:
            found: dict[str, str] = json.loads((self.own / "leases.json").read_bytes())
        except FileNotFoundError:
            return {}
        return found

    def lease(self, mac: str) -> str:
        """Give a guest the address that its MAC address has."""
        digest = hashlib.sha256(f"{self.home} {mac}".encode()).digest()
        address = f"127.{64 + digest[0] % 64}.{digest[1]}.{1 + digest[2] % 250}"
        with self.locked():
            temporary = self.own / f"leases.{os.getpid()}"
            temporary.write_text(json.dumps(self.leases() | {mac: address}))
            temporary.replace(self.own / "leases.json")
        return address


def split(reference: str) -> tuple[str, str]:
    """Give host and path, and the tag or digest, of a reference."""
    if "@" in reference:
        path, _, digest = reference.partition("@")
        return path, digest
    head, _, last = reference.rpartition("/")
    name, _, tag = last.partition(":")
    return f"{head}/{name}", tag or "latest"


def is_vm(place: Path) -> bool:
    return all((place / part).exists() for part in PARTS)


def load(place: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((place / "config.json").read_bytes())
    return found


def save(place: Path, config: dict[str, Any]) -> None:
    """Write in place: another file would have another lock."""
    (place / "config.json").write_text(json.dumps(config, indent=2))


def random_mac() -> str:
    return f"5e:{secrets.token_bytes(5).hex(':')}"


def lock_owner(place: Path) -> int | None:
    """Give the process that runs the VM there: who holds the lock on its config.json."""
    try:
        file = (place / "config.json").open("rb+")
    except FileNotFoundError:
        return None
    with file:
        asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = struct.unpack(
            _FLOCK, fcntl.fcntl(file.fileno(), fcntl.F_GETLK, asked)[: struct.calcsize(_FLOCK)]
        )
    return None if kind == fcntl.F_UNLCK else int(pid)


def state(place: Path) -> str:
    if lock_owner(place) is not None:
        return "running"
    return "suspended" if (place / "state.vzvmsave").exists() else "stopped"
