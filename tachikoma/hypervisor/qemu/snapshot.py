"""Saved machines: the state of devices and the memory, as files that are whole or not there.

A golden snapshot belongs to an image and a kind of machine: it is a machine that has booted,
has nothing mounted and is nobody yet. It lies in ``snapshots/<key>-<number>/`` in the directory
of the image. The key stands for all that must be the same for QEMU to go on from it. The number
is random: VMs stand on the disk in there, and none made later may take its place. A suspended VM
has its own in ``saved/`` in its directory.

Both hold ``memory``, a sparse file as large as the guest's memory with data only where that is
not zero, ``state`` of the devices, and ``saved.json``, written last and removed first. It says
what the files looked like: one that was cut short or written to since is no snapshot any more.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tachikoma.host import files

_VERSION = 1
_BLOCK = 512
_PIECE = 1 << 20
_GRAIN = 1 << 14
"""Zeros are looked for in pieces of this size; each hole costs the copying a system call."""
_NOTHING = bytes(_GRAIN)
_KEPT = 3
_HASHED_MOST = 64 << 20


@dataclass(frozen=True, slots=True)
class Saved:
    """A saved machine in a directory of its own."""

    path: Path

    @property
    def memory(self) -> Path:
        """The guest's memory."""
        return self.path / "memory"

    @property
    def state(self) -> Path:
        """All else of the machine."""
        return self.path / "state"

    @property
    def disk(self) -> Path:
        """The disk as it was then; a suspended VM has its own disk instead."""
        return self.path / "disk.qcow2"

    @property
    def about(self) -> Path:
        """What tells that all is there."""
        return self.path / "saved.json"

    @property
    def size_bytes(self) -> int:
        """What it takes up on the host's disk."""
        return sum(path.stat().st_blocks * _BLOCK for path in self._parts())

    def seal(self, key: str) -> None:
        """Say that all is there: from now on it is a snapshot.

        Raises:
            DiskFullError: no space.
        """
        with files.translated(self.path):
            for path in self._parts():
                _sync(path)
            about = {"version": _VERSION, "key": key, "parts": self._marks()}
        files.write_atomically(self.about, json.dumps(about).encode())

    def whole(self, key: str) -> bool:
        """Tell whether it is all there, as it was sealed, for machines with that ``key``."""
        try:
            about = json.loads(self.about.read_bytes())
            return bool(about == {"version": _VERSION, "key": key, "parts": self._marks()})
        except (OSError, ValueError):
            return False

    def spend(self) -> None:
        """Make sure that nobody goes on from it (again)."""
        with files.translated(self.path):
            self.about.unlink(missing_ok=True)
            if self.path.is_dir():
                _sync(self.path)

    def remove(self) -> None:
        """Remove it. Nothing if absent."""
        self.spend()
        with files.translated(self.path), contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.path)

    def _parts(self) -> list[Path]:
        return [path for path in (self.memory, self.state, self.disk) if path.exists()]

    def _marks(self) -> dict[str, Any]:
        """Give what tells each file from what it would be after any change."""
        marks = {path.name: _mark(path) for path in self._parts()}
        digest = hashlib.sha256(self.state.read_bytes()[:_HASHED_MOST]).hexdigest()
        return marks | {"digest": digest}


class Snapshots:
    """The golden snapshots of the image in the directory ``base``."""

    def __init__(self, base: Path) -> None:
        self.path = base / "snapshots"

    def find(self, key: str) -> Saved | None:
        """Give the snapshot for machines of that ``key``, if there is a whole one."""
        return next((saved for saved in self._of(key) if saved.whole(key)), None)

    def all(self) -> list[Saved]:
        """List what lies there, newest first, whole or not."""
        if not self.path.is_dir():
            return []
        found = [Saved(path) for path in self.path.iterdir() if not path.name.startswith(".")]
        return sorted(found, key=_made_at, reverse=True)

    @property
    def size_bytes(self) -> int:
        """What all of them take up on the host's disk."""
        return sum(saved.size_bytes for saved in self.all())

    def publish(self, made: Path, key: str, *, used: Sequence[Path] = ()) -> Saved:
        """Make the files in the directory ``made`` the snapshot of ``key``; they are moved.

        What is broken of that key goes, but for the disks that VMs stand on (those in ``used``).
        """
        Saved(made).seal(key)
        saved = Saved(self.path / f"{key}-{secrets.token_hex(4)}")
        for broken in self._of(key):
            self.discard(broken, used=used)
        with files.translated(self.path):
            made.replace(saved.path)
            _sync(self.path)
        return saved

    def discard(self, saved: Saved, *, used: Sequence[Path]) -> None:
        """Take back a snapshot; its disk stays while VMs stand on it (those in ``used``)."""
        if saved.path not in used:
            saved.remove()
            return
        saved.spend()
        with files.translated(saved.path):
            for part in (saved.memory, saved.state):
                part.unlink(missing_ok=True)

    def _of(self, key: str) -> list[Saved]:
        return [saved for saved in self.all() if saved.path.name.startswith(f"{key}-")]

    def thin_out(self, *, used: Sequence[Path]) -> None:
        """Keep the newest few: each was made for a QEMU or a size that may be history."""
        for saved in self.all()[_KEPT:]:
            self.discard(saved, used=used)


def save_memory(source: Path, into: Path) -> None:
    """Write the guest's memory, which ``source`` names, to the new file ``into``, without zeros.

    Raises:
        DiskFullError: no space.
    """
    with files.translated(into):
        memory = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
        try:
            descriptor = os.open(into, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                size = os.fstat(memory).st_size
                os.ftruncate(descriptor, size)
                for start, end in extents(memory, size):
                    _copy(memory, descriptor, start, end)
            finally:
                os.close(descriptor)
        finally:
            os.close(memory)


def extents(file: int, size: int) -> Iterator[tuple[int, int]]:
    """Give where a sparse file has data: start and end of each piece."""
    end = 0
    while end < size:
        try:
            start = os.lseek(file, end, os.SEEK_DATA)
        except OSError:  # from here on there is only a hole
            return
        end = os.lseek(file, start, os.SEEK_HOLE)
        yield start, end


def _copy(source: int, into: int, start: int, end: int) -> None:
    for offset in range(start, end, _PIECE):
        piece = memoryview(os.pread(source, min(_PIECE, end - offset), offset))
        begun = 0
        for at in range(0, len(piece), _GRAIN):
            if piece[at : at + _GRAIN] == _NOTHING[: len(piece) - at]:
                _put(into, piece[begun:at], offset + begun)
                begun = at + _GRAIN
        _put(into, piece[begun:], offset + begun)


def _put(into: int, data: memoryview, offset: int) -> None:
    while data:
        written = os.pwrite(into, data, offset)
        data, offset = data[written:], offset + written


def _made_at(saved: Saved) -> float:
    try:
        return saved.path.stat().st_mtime
    except OSError:  # another command has just removed it
        return 0.0


def _mark(path: Path) -> list[int]:
    seen = path.stat()
    return [seen.st_size, seen.st_blocks, seen.st_mtime_ns]


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
