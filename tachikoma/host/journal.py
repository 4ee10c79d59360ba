"""One log file for each VM: what was done to make it and set it up, with times."""

from __future__ import annotations

import contextlib
import os
from datetime import UTC, datetime
from pathlib import Path

from tachikoma.host.clock import Clock
from tachikoma.host.paths import private_dir
from tachikoma.host.process import redacted
from tachikoma.model.errors import PermissionDeniedError
from tachikoma.model.events import Event, Notice, Report, StepEnded, StepProgress, StepStarted
from tachikoma.model.names import VmName

_LARGEST = 1 << 20


class FileJournal:
    """Appends to ``<directory>/<vm>.log``, readable by the user only; credentials are taken out.

    A file beyond 1 MiB begins anew, the one before is kept as ``.1``. Nothing here fails.
    """

    def __init__(self, *, directory: Path, clock: Clock) -> None:
        self._directory = directory
        self._clock = clock

    def path(self, vm: VmName) -> Path:
        """Say where the log of ``vm`` is."""
        return self._directory / f"{vm}.log"

    def note(self, vm: VmName, text: str) -> None:
        """Add the lines of ``text``, each with the time."""
        at = datetime.fromtimestamp(self._clock.now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        lines = "".join(f"{at} {line}\n" for line in redacted(text).splitlines())
        with contextlib.suppress(OSError, PermissionDeniedError):
            self._append(self.path(vm), lines.encode("utf-8", "backslashreplace"))

    def overhearing(self, vm: VmName, report: Report) -> Report:
        """Give a report that also notes what is reported about ``vm``."""

        def both(event: Event) -> None:
            if said := _told(event):
                self.note(vm, said)
            report(event)

        return both

    def forget(self, vm: VmName) -> None:
        """Remove the log of ``vm``. Does nothing if absent."""
        path = self.path(vm)
        with contextlib.suppress(OSError):
            path.with_name(f"{path.name}.1").unlink(missing_ok=True)
            path.unlink(missing_ok=True)

    def _append(self, path: Path, data: bytes) -> None:
        private_dir(path.parent)
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_size + len(data) > _LARGEST:
                path.replace(path.with_name(f"{path.name}.1"))
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(path, flags, 0o600)
        try:
            os.write(descriptor, data)
        finally:
            os.close(descriptor)


def _told(event: Event) -> str:
    """Give what is worth keeping of an event: not each movement of a step."""
    match event:
        case StepStarted(name, text):
            return f"{name}: {text}"
        case StepEnded(name, seconds):
            return f"{name}: done in {seconds:.1f} s"
        case Notice(text):
            return text
        case StepProgress():
            return ""
