"""What Tart cannot tell: which image a VM came from, whether its making ended, who runs it.

``tart/<vm>/vm.json`` is written before Tart is asked to make the VM and says so; written again
when nothing is left to do. A VM of Tart's whose file says that it is being made is half-made. One
without a file was made by somebody else: it is listed, and never overwritten.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tachikoma.host import files, process
from tachikoma.host.paths import private_dir
from tachikoma.model.errors import HypervisorError
from tachikoma.model.names import VmName

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of one VM; ``made`` is False while it is being made."""

    image: str
    made: bool


@dataclass(frozen=True, slots=True)
class Kept:
    """A checkpoint of a VM; ``made`` is False while it is being made."""

    label: str
    created: float
    made: bool


@dataclass(frozen=True, slots=True)
class Run:
    """The process that runs a VM, and what tells it from a later one with the same id."""

    pid: int
    started: str

    def lives(self) -> bool:
        """Tell whether it still runs."""
        process.reap(self.pid)
        return process.start_time(self.pid) == self.started


class Records:
    """The files below ``directory``, one directory for each VM."""

    def __init__(self, *, directory: Path) -> None:
        self._directory = directory

    def log(self, vm: VmName) -> Path:
        """Say where `tart run` writes about ``vm``."""
        return self._directory / vm / "run.log"

    def load(self, vm: VmName) -> Record | None:
        """Give what is known of ``vm``; None if nothing is (a broken file says nothing)."""
        raw = self._read(self._directory / vm / "vm.json")
        try:
            return Record(image=str(raw["image"]), made=bool(raw["made"]))
        except KeyError:
            return None

    def save(self, vm: VmName, record: Record) -> None:
        """Write what is known of ``vm``."""
        self._write(vm, "vm.json", asdict(record))

    def kept(self, vm: VmName) -> list[Kept]:
        """List the checkpoints of ``vm``, half-made ones too."""
        found = self._read(self._directory / vm / "checkpoints.json").get("checkpoints", {})
        return [
            Kept(label=label, created=float(about["created"]), made=bool(about["made"]))
            for label, about in found.items()
        ]

    def keep(self, vm: VmName, checkpoint: Kept) -> None:
        """Write what is known of a checkpoint."""
        others = [each for each in self.kept(vm) if each.label != checkpoint.label]
        self._write_kept(vm, [*others, checkpoint])

    def unkeep(self, vm: VmName, label: str) -> None:
        """Forget a checkpoint. Does nothing if there is none."""
        self._write_kept(vm, [each for each in self.kept(vm) if each.label != label])

    def _write_kept(self, vm: VmName, kept: list[Kept]) -> None:
        about = {each.label: {"created": each.created, "made": each.made} for each in kept}
        self._write(vm, "checkpoints.json", {"checkpoints": about})

    def run(self, vm: VmName) -> Run | None:
        """Give the process that runs ``vm``; None if no command of ours runs it now."""
        raw = self._read(self._directory / vm / "run.json")
        try:
            run = Run(pid=int(raw["pid"]), started=str(raw["started"]))
        except (KeyError, ValueError):
            return None
        return run if run.lives() else None

    def save_run(self, vm: VmName, run: Run) -> None:
        """Write which process runs ``vm``."""
        self._write(vm, "run.json", asdict(run))

    def forget(self, vm: VmName) -> None:
        """Remove all that is known of ``vm``, its log too. Does nothing if there is nothing."""
        with files.translated(self._directory / vm):
            shutil.rmtree(self._directory / vm, ignore_errors=True)

    @contextmanager
    def making(self, vm: VmName) -> Iterator[None]:
        """Be the only one who makes ``vm``.

        Raises:
            HypervisorError: somebody else does.
        """
        private_dir(self._directory)
        try:
            with files.locked(self._directory / f".{vm}.lock", deadline_s=0):
                yield
        except TimeoutError as error:
            raise HypervisorError(
                f"another process is making the VM {vm}", hint="wait for it, or end it"
            ) from error

    def _write(self, vm: VmName, name: str, content: dict[str, Any]) -> None:
        path = private_dir(self._directory / vm) / name
        text = json.dumps({"version": _VERSION} | content, indent=2)
        files.write_atomically(path, text.encode())

    def _read(self, path: Path) -> dict[str, Any]:
        try:
            raw = json.loads(path.read_bytes())
        except (OSError, ValueError):
            return {}
        return raw if isinstance(raw, dict) else {}
