"""Where files out of a VM come down: one name in one directory, and nowhere else."""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from tachikoma.host import files
from tachikoma.model.errors import CopyError

_PERMISSIONS = 0o777
"""What of a mode is taken from a guest: no set-user-ID."""
_Make = Callable[[str, int], None]
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAKE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(slots=True)
class Copied:
    """What was copied. ``skipped`` names what is neither file, directory nor symbolic link."""

    files: int = 0
    size: int = 0
    skipped: list[str] = field(default_factory=list)


class Landing:
    """Takes members of an archive and puts them below ``parent``, the first name as ``name``.

    Every step goes from an open directory to the next without following a link, so no archive
    leads elsewhere, whatever it made before. A file appears whole or not at all. On leaving, the
    directories that were made here get their modes and times.
    """

    def __init__(self, parent: Path, name: str) -> None:
        self._parent = parent
        self._name = name
        self._descriptor = -1
        self._made: dict[tuple[str, ...], tarfile.TarInfo] = {}
        self.copied = Copied()
        self.empty = True

    def __enter__(self) -> Self:
        """Open the directory that the user named.

        Raises:
            HostError: it cannot be opened.
        """
        with files.translated(self._parent):
            self._descriptor = os.open(self._parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the made directories their modes, the innermost first, and close."""
        try:
            for parts, member in reversed(self._made.items()):
                with suppress(OSError, CopyError), self._directory(parts) as descriptor:
                    os.fchmod(descriptor, member.mode & _PERMISSIONS)
                    os.utime(descriptor, (member.mtime, member.mtime))
        finally:
            os.close(self._descriptor)

    def take(self, member: tarfile.TarInfo, data: IO[bytes] | None) -> None:
        """Put one member in its place.

        Raises:
            CopyError: its name leads outside, or something is in its way.
        """
        self.empty = False
        parts = self._parts(member.name)
        try:
            if member.isdir():
                self._take_directory(parts, member)
            elif member.issym():
                self._put(parts, lambda name, at: os.symlink(member.linkname, name, dir_fd=at))
            elif data is not None:
                self._take_file(parts, member, data)
            else:
                self.copied.skipped.append(member.name)
        except OSError as error:
            raise CopyError(
                f"{self._parent.joinpath(*parts)}: {error.strerror or error}",
                hint="a file, a directory and a link do not take each other's place:"
                " remove what is there, or copy to another name",
            ) from error

    def _take_directory(self, parts: tuple[str, ...], member: tarfile.TarInfo) -> None:
        with self._directory(parts[:-1]) as descriptor:
            try:
                os.mkdir(parts[-1], 0o700, dir_fd=descriptor)
            except FileExistsError:
                os.close(os.open(parts[-1], _OPEN, dir_fd=descriptor))  # it must be one
            else:
                self._made[parts] = member

    def _take_file(self, parts: tuple[str, ...], member: tarfile.TarInfo, data: IO[bytes]) -> None:
        def make(name: str, at: int) -> None:
            with os.fdopen(os.open(name, _MAKE, 0o600, dir_fd=at), "wb") as file:
                shutil.copyfileobj(data, file)
                file.flush()
                os.fchmod(file.fileno(), member.mode & _PERMISSIONS)
                os.utime(file.fileno(), (member.mtime, member.mtime))

        self._put(parts, make)
        self.copied.size += member.size

    def _put(self, parts: tuple[str, ...], make: _Make) -> None:
        """Make something under another name, then let it take its own."""
        temporary = f".tachikoma-{os.urandom(6).hex()}.tmp"
        with self._directory(parts[:-1]) as descriptor:
            try:
                make(temporary, descriptor)
                os.rename(temporary, parts[-1], src_dir_fd=descriptor, dst_dir_fd=descriptor)
            except BaseException:
                with suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=descriptor)
                raise
        self.copied.files += 1

    def _parts(self, name: str) -> tuple[str, ...]:
        first, *rest = name.rstrip("/").split("/")
        if first == "" or any(part in ("", ".", "..") for part in (first, *rest)):
            raise CopyError(
                f"the VM sent {name!r}, which leads outside of what you named",
                hint="nothing was written there; look at what happens in that VM",
            )
        return (self._name, *rest)

    @contextmanager
    def _directory(self, parts: tuple[str, ...]) -> Iterator[int]:
        """Open the directory ``parts`` below the one that the user named."""
        descriptor = os.dup(self._descriptor)
        try:
            for part in parts:
                below = os.open(part, _OPEN, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = below
            assert stat.S_ISDIR(os.fstat(descriptor).st_mode)
            yield descriptor
        finally:
            os.close(descriptor)
