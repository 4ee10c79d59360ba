"""Where images are: each in a directory named by its digest, and names that point to them.

``images/.store/<digest>/`` holds ``disk.qcow2``, ``vmlinuz``, ``initrd.img`` and ``image.json``;
``images/<name>`` is a symbolic link to it. A link is switched as the last act of a build, so a
name leads to a whole image or to none. VMs stand on the directory, not on the name: it stays as
long as a ``vms/*/machine.json`` speaks of its digest.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

from tachikoma.host import files
from tachikoma.host.clock import Clock, attempts
from tachikoma.host.paths import private_dir
from tachikoma.hypervisor.qemu.snapshot import Snapshots
from tachikoma.model.errors import ImageError
from tachikoma.model.names import is_vm_name
from tachikoma.model.vm import ImageInfo

DISK, KERNEL, INITRD, ABOUT = "disk.qcow2", "vmlinuz", "initrd.img", "image.json"
_CHUNK = 1 << 20


class ImageStore:
    """The images of one data directory."""

    def __init__(self, *, data: Path, clock: Clock) -> None:
        self._data = data
        self._names = data / "images"
        self._store = self._names / ".store"
        self._clock = clock

    def find(self, name: str) -> ImageInfo | None:
        """Look one image up.

        Raises:
            ImageError: no image can have that name.
        """
        if not is_vm_name(name):
            raise ImageError(
                f"{name!r} is no name for an image",
                hint="use lower-case letters, digits and '-', as in the name of a VM",
            )
        try:
            directory = (self._names / name).resolve(strict=True)
            return _info(name, directory, json.loads((directory / ABOUT).read_bytes()))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def all(self) -> list[ImageInfo]:
        """List the images by name."""
        found = (self.find(name) for name in sorted(self._links()))
        return [info for info in found if info is not None]

    @contextlib.asynccontextmanager
    async def locked(
        self, *, deadline_s: float, waiting: Callable[[], None]
    ) -> AsyncIterator[None]:
        """Be the only one who changes images; ``waiting`` is called once if that takes time.

        Raises:
            ImageError: somebody else did so for the whole time.
        """
        private_dir(self._names.resolve())
        with contextlib.ExitStack() as held:
            told = False
            async for _ in attempts(self._clock, deadline_s=deadline_s):
                try:
                    held.enter_context(files.locked(self._names / ".lock", deadline_s=0))
                    break
                except TimeoutError:
                    if not told:
                        waiting()
                    told = True
            else:
                raise ImageError(
                    "another command is still building an image", hint="wait for it, or end it"
                )
            yield

    def new_directory(self) -> Path:
        """Make a directory to build in, on the file system on which images are."""
        private_dir(self._store)
        return private_dir(self._names / f".build-{secrets.token_hex(4)}")

    def leftovers(self) -> list[Path]:
        """List what broken builds left."""
        return list(self._names.glob(".build-*"))

    def publish(self, name: str, directory: Path, about: dict[str, Any]) -> ImageInfo:
        """Make the files in ``directory``, which were sealed, the image ``name``; they are moved.

        ``about`` holds at least ``created``, ``digest`` and ``contents``. Quick.

        Raises:
            DiskFullError: no space; ``name`` is what it was before.
        """
        about = {"version": 1, "name": name} | about
        with files.translated(directory):
            files.write_atomically(
                directory / ABOUT, json.dumps(about, indent=2).encode(), mode=0o600
            )
            target = self._store / str(about["digest"]).removeprefix("sha256:")
            if target.exists():
                shutil.rmtree(directory)
            else:
                directory.replace(target)
            _sync(self._store)
            link = self._names / f".build-{secrets.token_hex(4)}"
            link.symlink_to(target.relative_to(self._names))
            link.replace(self._names / name)
            _sync(self._names)
        return _info(name, target, about)

    def unlink(self, name: str) -> None:
        """Take the name away; the files stay until ``collect``."""
        with files.translated(self._names / name):
            (self._names / name).unlink()
            _sync(self._names)

    def users(self, digest: str) -> list[str]:
        """Name the VMs that stand on the image with that digest."""
        key = digest.removeprefix("sha256:")
        found = []
        for machine in sorted(self._data.glob("vms/*/machine.json")):
            with contextlib.suppress(OSError):
                if key in machine.read_text(encoding="utf-8", errors="replace"):
                    found.append(machine.parent.name)
        return found

    def collect(self) -> None:
        """Remove every image that has no name and no VM.

        It is moved aside before the VMs are asked for the last time: whoever makes a VM writes
        its machine.json first and then looks whether the image is still there, so that one of
        the two always sees the other.
        """
        if not self._store.is_dir():
            return
        named = {(self._names / name).resolve().name for name in self._links()}
        with files.translated(self._store):
            for directory in self._store.iterdir():
                if directory.name in named or self.users(directory.name):
                    continue
                aside = self._names / f".build-{directory.name}"
                directory.replace(aside)
                if self.users(directory.name):
                    aside.replace(directory)
                else:
                    shutil.rmtree(aside)

    def _links(self) -> Iterable[str]:
        if not self._names.is_dir():
            return ()
        return [entry.name for entry in self._names.iterdir() if is_vm_name(entry.name)]


def seal(directory: Path) -> str:
    """See that the files of an image are on the disk, and give the digest of them all.

    Raises:
        DiskFullError: no space.
    """
    digest = hashlib.sha256()
    with files.translated(directory):
        for path in (directory / part for part in (DISK, KERNEL, INITRD)):
            _sync(path)
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
    return f"sha256:{digest.hexdigest()}"


def _info(name: str, directory: Path, about: dict[str, Any]) -> ImageInfo:
    return ImageInfo(
        name=name,
        size_bytes=sum(path.stat().st_blocks * 512 for path in directory.iterdir()),
        created=float(about["created"]),
        digest=str(about["digest"]),
        contents={str(key): str(value) for key, value in dict(about["contents"]).items()},
        snapshot_bytes=Snapshots(directory).size_bytes,
    )


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
