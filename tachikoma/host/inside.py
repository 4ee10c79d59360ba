"""Files below a directory where somebody else may plant symbolic links: none is ever followed.

Every step of a path is opened by its own name with ``O_NOFOLLOW`` from the directory before it,
so that it does not matter what is exchanged meanwhile. A path is its parts below the root.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from tachikoma.host import files
from tachikoma.model.errors import HostError

Parts = Sequence[str]
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PERMISSIONS = 0o777
_BLOCK = 1 << 20
_NO_TRICKS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextlib.contextmanager
def directory(root: Path, parts: Parts, *, make: bool = False) -> Iterator[int]:
    """Hold the directory at ``parts`` below ``root``; with ``make`` what is missing is made.

    Raises:
        FileNotFoundError, NotADirectoryError: it is missing, or a link stands in the way.
    """
    held = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts:
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, 0o777, dir_fd=held)
            below = os.open(part, _DIRECTORY, dir_fd=held)
            os.close(held)
            held = below
        yield held
    finally:
        os.close(held)


def kind(root: Path, parts: Parts) -> int:
    """Give what is at ``parts`` as ``stat.S_IFMT`` tells it; 0 if there is nothing.

    Raises:
        NotADirectoryError: a link, or something else, stands where a directory should be.
    """
    try:
        with directory(root, parts[:-1]) as above:
            return stat.S_IFMT(os.stat(parts[-1], dir_fd=above, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return 0


def read(root: Path, parts: Parts, *, most: int) -> bytes | None:
    """Give the content of a regular file, at most ``most`` bytes; None if there is none there."""
    try:
        with directory(root, parts[:-1]) as above:
            opened = os.open(parts[-1], os.O_RDONLY | _NO_TRICKS, dir_fd=above)
    except OSError:
        return None
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        return None
    with os.fdopen(opened, "rb") as file:
        return file.read(most)


def modified_ns(root: Path, parts: Parts) -> int:
    """Say when what is there was changed last, in nanoseconds; 0 if there is nothing."""
    try:
        with directory(root, parts[:-1]) as above:
            return os.stat(parts[-1], dir_fd=above, follow_symlinks=False).st_mtime_ns
    except OSError:
        return 0


def write(
    root: Path, parts: Parts, data: bytes, *, mode: int = 0o644, modified_ns: int | None = None
) -> None:
    """Put a file there, whole or not at all. What stood there is replaced, also a link. It counts
    as changed at ``modified_ns``; now, if that is None.

    Raises:
        HostError: it cannot be written.
    """
    with files.translated(root.joinpath(*parts)), directory(root, parts[:-1]) as above:
        _replace(above, parts[-1], [data], mode, modified_ns)


def create(root: Path, parts: Parts, data: bytes) -> None:
    """Make a file that is not there yet.

    Raises:
        HostError: something is there, or it cannot be made.
    """
    with files.translated(root.joinpath(*parts)), directory(root, parts[:-1]) as above:
        # Linked to its name when it is whole: a kill leaves no empty one.
        temporary = _temporary(parts[-1])
        _replace(above, temporary, [data], 0o644)
        try:
            os.link(temporary, parts[-1], src_dir_fd=above, dst_dir_fd=above)
        finally:
            os.unlink(temporary, dir_fd=above)


def remove(root: Path, parts: Parts) -> None:
    """Remove a file or link. Does nothing if absent, which it is behind a link, too.

    Raises:
        HostError: it is a directory, or cannot be removed.
    """
    with (
        files.translated(root.joinpath(*parts)),
        contextlib.suppress(FileNotFoundError, NotADirectoryError),
        directory(root, parts[:-1]) as above,
    ):
        os.unlink(parts[-1], dir_fd=above)


def walk(root: Path, parts: Parts) -> Iterator[tuple[tuple[str, ...], int]]:
    """Give everything at and below ``parts``, directories before what is in them, with its kind.

    Raises:
        FileNotFoundError, NotADirectoryError: there is nothing, or a link on the way.
    """
    here = tuple(parts)
    found = kind(root, here)
    if not found:
        raise FileNotFoundError(str(root.joinpath(*here)))
    yield here, found
    if found == stat.S_IFDIR:
        with directory(root, here) as held:
            names = sorted(os.listdir(held))  # noqa: PTH208 - of a descriptor
        for name in names:
            yield from walk(root, (*here, name))


def link_target(root: Path, parts: Parts) -> str:
    """Give what a symbolic link says."""
    with directory(root, parts[:-1]) as above:
        return os.readlink(parts[-1], dir_fd=above)


def copy(source: Path, target: Path, parts: Parts) -> None:
    """Copy one directory (without what is in it), file or link from below one root to the same
    place below another. A file keeps its permissions, not its owner nor special bits.

    Raises:
        HostError: it is nothing of these, or a link stands in the way.
    """
    with files.translated(source.joinpath(*parts)):
        match kind(source, parts):
            case stat.S_IFDIR:
                with directory(target, parts, make=True):
                    return
            case stat.S_IFLNK:
                _copy_link(source, target, parts)
            case stat.S_IFREG:
                _copy_file(source, target, parts)
            case _:
                raise HostError(
                    f"{source.joinpath(*parts)} is no file, directory or link",
                    hint="only these can be copied",
                )


def _copy_link(source: Path, target: Path, parts: Parts) -> None:
    said = link_target(source, parts)
    with directory(target, parts[:-1], make=True) as above:
        temporary = _temporary(parts[-1])
        os.symlink(said, temporary, dir_fd=above)
        os.replace(temporary, parts[-1], src_dir_fd=above, dst_dir_fd=above)


def _copy_file(source: Path, target: Path, parts: Parts) -> None:
    with (
        directory(source, parts[:-1]) as from_above,
        os.fdopen(os.open(parts[-1], os.O_RDONLY | _NO_TRICKS, dir_fd=from_above), "rb") as file,
        directory(target, parts[:-1], make=True) as above,
    ):
        mode = os.fstat(file.fileno()).st_mode & _PERMISSIONS
        _replace(above, parts[-1], iter(lambda: file.read(_BLOCK), b""), mode)


def _replace(
    above: int,
    name: str,
    blocks: Sequence[bytes] | Iterator[bytes],
    mode: int,
    modified_ns: int | None = None,
) -> None:
    temporary = _temporary(name)
    opened = os.open(
        temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_TRICKS, mode, dir_fd=above
    )
    try:
        with os.fdopen(opened, "wb") as file:
            for block in blocks:
                file.write(block)
            file.flush()
            os.fchmod(file.fileno(), mode)
            if modified_ns is not None:
                os.utime(file.fileno(), ns=(modified_ns, modified_ns))
        os.replace(temporary, name, src_dir_fd=above, dst_dir_fd=above)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=above)
        raise


def _temporary(name: str) -> str:
    return f".{name[:64]}.{os.urandom(4).hex()}.tmp"
