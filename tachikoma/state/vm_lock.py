"""The lock of one VM: a file that the kernel locks for its holder and that goes with it."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from tachikoma.host import files
from tachikoma.host.clock import Clock, attempts
from tachikoma.model.errors import VmBusyError
from tachikoma.model.events import Notice, Report
from tachikoma.model.names import VmName

_LONGEST_HOLDER = 4096


@dataclass(frozen=True, slots=True)
class Holder:
    """Who works on a VM, what for, and since when (seconds since the epoch)."""

    pid: int
    purpose: str
    since: float


@contextlib.asynccontextmanager
async def held(
    path: Path, vm: VmName, holder: Holder, *, clock: Clock, report: Report, deadline_s: float
) -> AsyncIterator[None]:
    """Hold the lock at ``path`` as ``holder``; waits for another one and reports who it is.

    Raises:
        VmBusyError: still held after ``deadline_s``.
        HostError: the file cannot be made.
    """
    descriptor = await _acquired(path, vm, clock=clock, report=report, deadline_s=deadline_s)
    try:
        _write(descriptor, holder)
        yield
    finally:
        # Removed while it is still locked: whoever waits for it notices that the name is gone
        # (`_is_at`), so two can never hold two files of one name.
        with contextlib.suppress(OSError):
            if _is_at(descriptor, path):
                path.unlink()
        os.close(descriptor)


async def _acquired(
    path: Path, vm: VmName, *, clock: Clock, report: Report, deadline_s: float
) -> int:
    """Give the descriptor of the file, locked; closing it gives the lock back."""
    holder: Holder | None = None
    async for _ in attempts(clock, deadline_s=deadline_s):
        descriptor = _open(path)
        kept = False
        try:
            with files.translated(path):
                kept = files.try_lock(descriptor) and _is_at(descriptor, path)
            if kept:
                return descriptor
            seen = _read(descriptor)
        finally:
            if not kept:
                os.close(descriptor)
        if seen is not None and seen != holder:
            holder = seen
            report(Notice(f"{vm}: waiting for process {seen.pid} ({seen.purpose})"))
    raise busy(vm, holder, now=clock.now())


def busy(vm: VmName, holder: Holder | None, *, now: float) -> VmBusyError:
    """Give the error that names who holds ``vm``."""
    if holder is None:
        return VmBusyError(f"{vm} is in use by another command", hint="wait for it, or end it")
    for_s = max(0.0, now - holder.since)
    return VmBusyError(
        f"{vm} is in use by process {holder.pid} ({holder.purpose}, for {for_s:.0f} s)",
        hint=f"wait for it, or end it with `kill {holder.pid}`; nothing is lost by that",
    )


def _open(path: Path) -> int:
    with files.translated(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _is_at(descriptor: int, path: Path) -> bool:
    """Tell whether the open file is still the one of that name."""
    try:
        named = path.lstat()
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(descriptor), named)


def _write(descriptor: int, holder: Holder) -> None:
    text = json.dumps({"pid": holder.pid, "purpose": holder.purpose, "since": holder.since})
    with contextlib.suppress(OSError):  # a full disk must not keep `destroy` from making room
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode(), 0)


def _read(descriptor: int) -> Holder | None:
    """Give what the holder wrote; None where it has not got to it yet."""
    try:
        said = json.loads(os.pread(descriptor, _LONGEST_HOLDER, 0))
        return Holder(
            pid=int(said["pid"]), purpose=str(said["purpose"]), since=float(said["since"])
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
