"""The supervisor as other commands see it: look, stop, retry, start it in the background."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tachikoma.host import attended, process
from tachikoma.host.clock import Clock, attempts
from tachikoma.host.paths import private_dir
from tachikoma.model.errors_fleet import SupervisorError
from tachikoma.supervisor.orders import RETRY
from tachikoma.supervisor.record import RecordFile, SupervisorRecord
from tachikoma.supervisor.supervisor import GRACE_S

_STOP_S = GRACE_S + 15.0
_START_S = 30.0
_LAST_LINES = 12
_MOST = 1 << 16


class Standing(StrEnum):
    """How it stands with the supervisor."""

    RUNNING = "running"
    STOPPED = "stopped"
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class Found:
    """The supervisor as it is; ``record`` is None where it is stopped."""

    standing: Standing
    record: SupervisorRecord | None = None

    @property
    def cleaned(self) -> bool:
        """Whether nothing is left of a stale one."""
        return self.record is None or not self.record.left_over


class SupervisorControl:
    """Finds, stops and starts this user's supervisor."""

    def __init__(self, *, record: RecordFile, clock: Clock, grace_s: float = GRACE_S) -> None:
        self._record = record
        self._clock = clock
        self._grace_s = grace_s

    def look(self) -> Found:
        """Tell how it stands. The record of a dead one is removed, unless workers of it live.

        Raises:
            HostError: the lock cannot be opened.
        """
        found = self._record.read()
        if found is None:
            return Found(Standing.STOPPED)
        if found.alive:
            return Found(Standing.RUNNING, found)
        if not found.left_over:
            self._clean(found)
        return Found(Standing.STALE, found)

    async def stop(self, before: Found) -> None:
        """Ask the supervisor that ``look`` found to end and wait until it has.

        What a dead one left is ended too.

        Raises:
            SupervisorError: it does not end.
        """
        if before.record is None:
            return
        if before.standing is Standing.RUNNING:
            await self._end(before.record)
        elif not before.cleaned:
            with self._record.held():
                await self._end_left_over(before.record)
                self._record.remove()

    def retry(self) -> SupervisorRecord:
        """Have it start parked workers again, and waiting ones now.

        Raises:
            SupervisorError: none runs.
        """
        found = self.look()
        if found.standing is not Standing.RUNNING or found.record is None:
            raise SupervisorError(
                "no supervisor is running", hint="`tachikoma daemon start` starts it"
            )
        os.kill(found.record.pid, RETRY)
        return found.record

    async def start(
        self, argv: Sequence[str], *, environ: Mapping[str, str], said: Path
    ) -> SupervisorRecord:
        """Start a supervisor by ``argv`` in the background and wait until it is recorded.

        ``said`` is the file for what it says before it is.

        Raises:
            SupervisorBusyError: there is one already.
            SupervisorError: it ended at once; details hold what it said.
        """
        with self._record.held():  # says who is in the way, sooner than the child would
            pass
        private_dir(said.parent)
        said.unlink(missing_ok=True)
        pid = process.detach(argv, log=said, env=environ, cwd=Path("/"))
        started = process.start_time(pid)
        async for _ in attempts(self._clock, deadline_s=_START_S):
            process.reap(pid)
            found = self._record.read()
            if found is not None and found.pid == pid and found.alive:
                return found
            if started is None or process.start_time(pid) != started:
                break
        raise SupervisorError(
            "the supervisor does not come up",
            hint="`tachikoma daemon start` in the foreground shows more",
            details=_last_lines(said),
        )

    async def _end(self, record: SupervisorRecord) -> None:
        try:
            os.kill(record.pid, signal.SIGTERM)
        except ProcessLookupError:
            return
        async for _ in attempts(self._clock, deadline_s=_STOP_S):
            process.reap(record.pid)
            if not record.alive:
                return
        raise SupervisorError(
            f"the supervisor (process {record.pid}) does not end",
            hint=f"see {record.log}; `kill -9 {record.pid}`, then `tachikoma daemon stop` again",
        )

    async def _end_left_over(self, record: SupervisorRecord) -> None:
        for worker in record.left_over:
            assert worker.pid is not None
            await asyncio.to_thread(
                attended.end_left_over, worker.pid, started=worker.started, grace_s=self._grace_s
            )

    def _clean(self, stale: SupervisorRecord) -> None:
        """Remove the record of a dead supervisor, unless another one is just starting."""
        try:
            with self._record.held():
                if self._record.read() == stale:
                    self._record.remove()
        except SupervisorError:
            return


def _last_lines(path: Path) -> str:
    try:
        text = path.read_bytes()[-_MOST:].decode("utf-8", "replace")
    except OSError:
        return ""
    return process.redacted("\n".join(text.splitlines()[-_LAST_LINES:]))
