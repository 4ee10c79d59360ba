"""What is recorded of the running supervisor, so that other commands find it; and its lock.

The lock says whether one runs: it ends with its holder, however that ends. The file says which,
and what it does. A file whose process is gone is stale; its workers may still be there.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from tachikoma.host import files, process
from tachikoma.host.paths import private_dir
from tachikoma.model.errors_fleet import SupervisorBusyError

_VERSION = 1
WorkerState = Literal["starting", "running", "waiting", "parked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRecord:
    """One worker as the supervisor sees it. Times are seconds since the epoch.

    ``pid`` and ``started`` are those of its process while it runs; ``since`` is when it came into
    ``state``, ``retry_at`` when it starts again. ``restarts`` counts all of them, ``rapid`` the
    short runs in a row. ``last_exit`` says how it ended last, "" if it never did; ``parked`` why
    it does not start again.
    """

    kind: str
    why: str
    state: WorkerState = "starting"
    pid: int | None = None
    started: str = ""
    since: float = 0.0
    restarts: int = 0
    rapid: int = 0
    backoff_s: float = 0.0
    retry_at: float | None = None
    last_exit: str = ""
    parked: str = ""

    @property
    def alive(self) -> bool:
        """Whether its process still runs."""
        return self.pid is not None and process.start_time(self.pid) == self.started


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorRecord:
    """A supervisor. ``started`` tells its process from a later one with the same id."""

    pid: int
    started: str
    cwd: str
    started_at: str
    worker_kinds: tuple[str, ...]
    last_status: Literal["running", "stopping"]
    name: str
    log: str
    workers: tuple[WorkerRecord, ...]

    @property
    def alive(self) -> bool:
        """Whether that very process still runs."""
        return process.start_time(self.pid) == self.started

    @property
    def left_over(self) -> tuple[WorkerRecord, ...]:
        """The workers that still run."""
        return tuple(worker for worker in self.workers if worker.alive)


class RecordFile:
    """The record's file and the lock beside it."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = file.with_suffix(".lock")

    def read(self) -> SupervisorRecord | None:
        """Give what is recorded; nothing if there is no file, or it is not ours to understand."""
        try:
            return decode(json.loads(self._file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def write(self, record: SupervisorRecord) -> None:
        """Record it.

        Raises:
            HostError: the file cannot be written.
        """
        text = json.dumps(encode(record), indent=1)
        files.write_atomically(self._file, f"{text}\n".encode())

    def remove(self) -> None:
        """Remove the record. Does nothing if absent."""
        with contextlib.suppress(OSError):
            self._file.unlink()

    @contextlib.contextmanager
    def held(self, *, patience_s: float = 0.0) -> Iterator[None]:
        """Be the only supervisor of this user.

        Raises:
            SupervisorBusyError: there is one already.
        """
        private_dir(self._file.parent)
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(files.locked(self._lock, deadline_s=patience_s))
            except TimeoutError as error:
                raise self._busy() from error
            yield

    def _busy(self) -> SupervisorBusyError:
        found = self.read()
        if found is None or not found.alive:
            return SupervisorBusyError(
                "another supervisor is just starting or ending",
                hint="`tachikoma daemon status` shows it",
            )
        return SupervisorBusyError(
            f"a supervisor runs already: process {found.pid}, in {found.cwd}, "
            f"since {found.started_at}",
            hint="`tachikoma daemon stop` ends it; `tachikoma daemon retry` starts its parked "
            "workers again",
        )


def encode(record: SupervisorRecord) -> dict[str, Any]:
    """Give a record as JSON has it."""
    workers = [
        {_camel(key): value for key, value in asdict(worker).items()} for worker in record.workers
    ]
    plain = {_camel(key): value for key, value in asdict(record).items()}
    return {"version": _VERSION, **plain, "workers": workers}


def decode(found: Mapping[str, Any]) -> SupervisorRecord:
    """Read what ``encode`` gave.

    Raises:
        KeyError, TypeError, ValueError: it is something else.
    """
    if found["version"] != _VERSION or not isinstance(found["pid"], int) or found["pid"] <= 0:
        raise ValueError("another version, or no process")
    plain = {_snake(key): value for key, value in found.items() if key != "version"}
    workers = tuple(
        WorkerRecord(**{_snake(key): value for key, value in each.items()})
        for each in plain.pop("workers")
    )
    kinds = tuple(plain.pop("worker_kinds"))
    return SupervisorRecord(workers=workers, worker_kinds=kinds, **plain)


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _snake(name: str) -> str:
    return "".join(f"_{char.lower()}" if char.isupper() else char for char in name)
