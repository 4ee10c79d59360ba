"""Files that survive a crash, and locks that do not survive their holder."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from tachikoma.model.errors import DiskFullError, HostError, PermissionDeniedError


def write_atomically(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Put ``data`` at ``path`` so that a reader or a crash sees the old or the new file, whole.

    Raises:
        DiskFullError: no space; the old file is untouched.
        PermissionDeniedError: the directory cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}.tmp")
    with translated(path):
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            _sync_directory(path.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn an ``OSError`` of the block into ours, naming ``path``."""
    try:
        yield
    except OSError as error:
        raise from_os_error(error, path) from error


def from_os_error(error: OSError, path: Path) -> HostError:
    """Give our error for what the operating system said about ``path``."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError(
            f"no space is left on the disk that holds {path}",
            hint="free some space (`tachikoma list` shows what each VM takes), then run it again",
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return PermissionDeniedError(
            f"{path}: {error.strerror}", hint="check the owner and mode of the file and directory"
        )
    return HostError(f"{path}: {error.strerror or error}", hint="see `tachikoma doctor`")


@contextlib.contextmanager
def locked(path: Path, *, deadline_s: float = 10.0) -> Iterator[None]:
    """Hold an exclusive lock on the file at ``path``, made if need be.

    The lock ends with its holder, however that ends.

    Raises:
        TimeoutError: somebody else held it for the whole time.
        HostError: the file cannot be made or opened.
    """
    import portalocker  # its imports take longer than all of ours; reading needs no lock

    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = portalocker.Lock(path, mode="a", timeout=deadline_s, check_interval=0.02)
        lock.acquire()
    except portalocker.AlreadyLocked as error:
        raise TimeoutError(str(path)) from error
    except portalocker.LockException as error:
        raise _no_locks(error) from error
    except OSError as error:
        raise from_os_error(error, path) from error
    try:
        yield
    finally:
        lock.release()


def try_lock(descriptor: int) -> bool:
    """Take the exclusive lock on an open file now, or tell that somebody else has it.

    Closing the descriptor, or the end of the process, gives it back.

    Raises:
        HostError: the file system knows no locks.
    """
    import portalocker

    try:
        portalocker.lock(
            descriptor, portalocker.LockFlags.EXCLUSIVE | portalocker.LockFlags.NON_BLOCKING
        )
    except portalocker.AlreadyLocked:
        return False
    except portalocker.LockException as error:
        raise _no_locks(error) from error
    return True


def _no_locks(error: Exception) -> HostError:
    return HostError(
        f"this file system gives no locks: {error}",
        hint="keep tachikoma's configuration directory on a local disk (XDG_CONFIG_HOME)",
    )


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
