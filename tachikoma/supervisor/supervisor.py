"""The supervisor: starts workers, hands on what they say, and starts them again when they end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from tachikoma.host import attended, tasks
from tachikoma.host.clock import Clock
from tachikoma.model.errors import HostError, TachikomaError
from tachikoma.model.vm import Stream
from tachikoma.supervisor import restarts
from tachikoma.supervisor.orders import Orders
from tachikoma.supervisor.record import RecordFile, SupervisorRecord, WorkerRecord
from tachikoma.supervisor.restarts import Again, Park, Parked, Restarts
from tachikoma.supervisor.workers import Options, Worker, environment

GRACE_S = 30.0
"""How long a worker may take to end once it was asked to."""
_NOT_STARTED = 127
_PARKED = {
    Parked.PERMANENT: "it ended with a permanent error; `tachikoma daemon logs` says which",
    Parked.RAPID: "it failed too often; `tachikoma daemon logs` says how",
}

Say = Callable[[Stream, str], None]


class Attend(Protocol):
    """Runs one child to its end, as ``host.attended.attend`` does."""

    async def __call__(
        self,
        argv: Sequence[str],
        *,
        on_start: Callable[[int], None],
        on_line: Callable[[Stream, str], None],
        grace_s: float,
        env: Mapping[str, str] | None,
        cwd: Path | None,
    ) -> int:
        """Give its exit status; cancelling ends it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a supervisor runs: its process, its environment, its record and log.

    ``started`` is what tells its process from a later one with the same id, ``start_time`` tells
    the same of a worker's.
    """

    pid: int
    started: str
    environ: Mapping[str, str]
    record: RecordFile
    log: Path
    start_time: Callable[[int], str | None]


class Supervisor:
    """Keeps ``workers`` running; ``notes`` are said when it starts.

    If starting fails, because another supervisor runs, no worker was started and nothing is
    recorded. On stop every worker is asked to end, and killed with its group after ``grace_s``;
    only when all of them are gone the record goes, and then the lock.
    """

    def __init__(  # noqa: PLR0913 - keyword-only parts, joined in one place
        self,
        *,
        workers: Sequence[Worker],
        options: Options,
        place: Place,
        say: Say,
        clock: Clock,
        attend: Attend,
        notes: Sequence[str] = (),
        grace_s: float = GRACE_S,
    ) -> None:
        self._workers = workers
        self._options = options
        self._place = place
        self._say = say
        self._clock = clock
        self._attend = attend
        self._notes = notes
        self._grace_s = grace_s
        self._seen = {each.kind: WorkerRecord(kind=each.kind, why=each.why) for each in workers}
        self._stopping = False
        self._started_at = ""

    async def run(self, orders: Orders) -> None:
        """Supervise until told to stop.

        Raises:
            SupervisorBusyError: another supervisor of this user runs.
            HostError: nothing can be recorded.
        """
        with self._place.record.held():
            self._told(f"supervisor starting in {self._options.directory}")
            for note in self._notes:
                self._told(note)
            await self._end_what_is_left()
            now = datetime.fromtimestamp(self._clock.now(), UTC)
            self._started_at = now.isoformat(timespec="seconds").replace("+00:00", "Z")
            self._place.record.write(self._record())
            try:
                await self._supervise(orders)
            finally:
                self._place.record.remove()
            self._told("supervisor stopped")

    async def _supervise(self, orders: Orders) -> None:
        async with asyncio.TaskGroup() as group:
            keepers = [
                group.create_task(self._keep(each, orders), name=f"worker {each.kind}")
                for each in self._workers
            ]
            await orders.stop.wait()
            self._stopping = True
            self._note()
            self._told("supervisor shutting down...")
            orders.stop.clear()
            ending = asyncio.gather(*keepers, return_exceptions=True)
            for keeper in keepers:
                keeper.cancel()
            again = tasks.spawn(orders.stop.wait(), name="told to stop again")
            await asyncio.wait({ending, again}, return_when=asyncio.FIRST_COMPLETED)
            await tasks.end(again)
            for keeper in keepers:  # who waits for a worker's grace waits no longer
                keeper.cancel()
            await asyncio.wait({ending})

    async def _keep(self, worker: Worker, orders: Orders) -> None:
        """Run ``worker`` again and again."""
        remembered = Restarts()
        while True:
            began = self._clock.monotonic()
            status = await self._once(worker)
            ran_s = self._clock.monotonic() - began
            decision = restarts.ended(remembered, status=status, ran_s=ran_s)
            self._ended(worker.kind, status, decision)
            match decision:
                case Again(after_s, then):
                    retried = await self._paused(after_s, orders)
                    remembered = Restarts() if retried else then
                case Park():
                    with orders.hearing() as told:
                        await told.wait()
                    remembered = Restarts()
            seen = self._seen[worker.kind]
            self._change(worker.kind, restarts=seen.restarts + 1, retry_at=None, parked="")

    async def _once(self, worker: Worker) -> int:
        """Start ``worker`` and give its exit status."""

        def started(pid: int) -> None:
            start = self._place.start_time(pid) or ""
            now = self._clock.now()
            self._change(worker.kind, state="running", pid=pid, started=start, since=now)

        self._told(f"spawning worker '{worker.kind}'")
        told = environment(self._options) | dict(worker.environ)
        try:
            return await self._attend(
                worker.argv,
                on_start=started,
                on_line=lambda stream, line: self._say(stream, f"[{worker.kind}] {line}"),
                grace_s=self._grace_s,
                env={**self._place.environ, **told},
                cwd=self._options.directory,
            )
        except TachikomaError as error:
            self._told(f"worker '{worker.kind}' cannot be started: {error.message}", "stderr")
            return _NOT_STARTED

    def _ended(self, kind: str, status: int, decision: Again | Park) -> None:
        """Record and say how a worker ended, and what becomes of it."""
        now = self._clock.now()
        last = restarts.how(status)
        match decision:
            case Again(after_s, then):
                self._change(
                    kind, state="waiting", pid=None, started="", since=now, last_exit=last,
                    retry_at=now + after_s, backoff_s=after_s, rapid=then.rapid,
                )  # fmt: skip
            case Park(why, rapid):
                self._change(
                    kind, state="parked", pid=None, started="", since=now, last_exit=last,
                    retry_at=None, backoff_s=0.0, rapid=rapid, parked=_PARKED[why],
                )  # fmt: skip
        self._told(
            restarts.told(kind, status, decision),
            "stderr" if isinstance(decision, Park) else "stdout",
        )

    async def _paused(self, after_s: float, orders: Orders) -> bool:
        """Wait, and tell whether an order to retry ended the waiting."""
        with orders.hearing() as told:
            waits = {
                tasks.spawn(self._clock.sleep(after_s), name="pause before a restart"),
                tasks.spawn(told.wait(), name="order to retry"),
            }
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for each in waits:
                    each.cancel()
            return told.is_set()

    async def _end_what_is_left(self) -> None:
        """End the workers of a supervisor that died without a word."""
        found = self._place.record.read()
        for each in found.left_over if found else ():
            self._told(f"ending worker '{each.kind}' (PID: {each.pid}), left by PID {found.pid}")  # type: ignore[union-attr]  # what has something left was found
            assert each.pid is not None
            await asyncio.to_thread(
                attended.end_left_over, each.pid, started=each.started, grace_s=self._grace_s
            )

    def _told(self, text: str, stream: Stream = "stdout") -> None:
        self._say(stream, f"[daemon] {text}")

    def _change(self, kind: str, **changes: object) -> None:
        self._seen[kind] = replace(self._seen[kind], **changes)  # type: ignore[arg-type]  # fields
        self._note()

    def _note(self) -> None:
        """Record what there is. A full disk does not stop the work."""
        try:
            self._place.record.write(self._record())
        except HostError as error:
            self._told(f"the record cannot be written: {error.message}", "stderr")

    def _record(self) -> SupervisorRecord:
        return SupervisorRecord(
            pid=self._place.pid,
            started=self._place.started,
            cwd=str(self._options.directory),
            started_at=self._started_at,
            worker_kinds=tuple(self._seen),
            last_status="stopping" if self._stopping else "running",
            name=self._options.name or "",
            log=str(self._place.log),
            workers=tuple(self._seen.values()),
        )
