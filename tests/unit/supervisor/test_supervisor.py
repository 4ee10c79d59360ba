from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tachikoma.host.clock import FakeClock
from tachikoma.model.errors import MissingToolError
from tachikoma.model.errors_fleet import SupervisorBusyError
from tachikoma.model.vm import Stream
from tachikoma.supervisor.orders import Orders
from tachikoma.supervisor.record import RecordFile, SupervisorRecord
from tachikoma.supervisor.supervisor import Place, Supervisor
from tachikoma.supervisor.workers import Options, Worker

PID = 4_000_000


@dataclass(slots=True)
class Runs:
    """Children that end as ``script`` says: (seconds, status); after that they run for ever."""

    clock: FakeClock
    script: list[tuple[float, int]] = field(default_factory=list)
    missing: bool = False
    began: list[Mapping[str, str]] = field(default_factory=list)
    cancelled: int = 0

    async def attend(
        self,
        argv: Sequence[str],
        *,
        on_start: Callable[[int], None],
        on_line: Callable[[Stream, str], None],
        grace_s: float,
        env: Mapping[str, str] | None,
        cwd: Path | None,
    ) -> int:
        if self.missing:
            raise MissingToolError("the program gone is not installed", hint="install it")
        self.began.append(env or {})
        on_start(PID + len(self.began))
        on_line("stdout", f"run {len(self.began)} of {argv[0]}")
        if not self.script:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        ran_s, status = self.script.pop(0)
        await self.clock.sleep(ran_s)
        return status


@dataclass(slots=True)
class Stand:
    """A supervisor with one worker, what it said, and what it recorded."""

    clock: FakeClock
    runs: Runs
    record: RecordFile
    directory: Path
    said: list[str] = field(default_factory=list)
    recorded: list[SupervisorRecord] = field(default_factory=list)
    orders: Orders | None = None

    def say(self, _stream: Stream, line: str) -> None:
        self.said.append(line)
        if (found := self.record.read()) is not None:
            self.recorded.append(found)

    @contextlib.asynccontextmanager
    async def running(self, *kinds: str) -> AsyncIterator[Orders]:
        """Run the supervisor; told to stop in the end if nobody did."""
        orders = Orders()
        supervisor = Supervisor(
            workers=[Worker(kind, (f"run-{kind}",), "you said so", {}) for kind in kinds],
            options=Options(directory=self.directory, name="trial", capacity=2),
            place=Place(
                pid=PID,
                started="1",
                environ={"MINE": "yes"},
                record=self.record,
                log=self.directory / "log",
                start_time=str,
            ),
            say=self.say,
            clock=self.clock,
            attend=self.runs.attend,
        )
        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            task = group.create_task(supervisor.run(orders))
            yield orders
            if not task.done():
                orders.stop.set()

    async def until(self, text: str, *, times: int = 1) -> None:
        """Let things go on until ``text`` was said."""
        for _ in range(2000):
            if sum(text in line for line in self.said) >= times:
                return
            await asyncio.sleep(0)
        raise AssertionError(f"{text!r} was not said {times} times: {self.said}")

    @property
    def worker(self) -> str:
        """The state of the only worker, as it was recorded last."""
        found = self.record.read()
        assert found is not None
        return found.workers[0].state


@pytest.fixture
def stand(own_home: Path) -> Stand:
    clock = FakeClock()
    record = RecordFile(own_home / ".config/tachikoma/daemon.json")
    return Stand(clock, Runs(clock), record, own_home)


async def test_what_is_said_from_start_to_stop(stand: Stand) -> None:
    async with stand.running("makima"):
        await stand.until("[makima] run 1")
        found = stand.record.read()
        assert found is not None
        assert (found.pid, found.cwd, found.last_status) == (PID, str(stand.directory), "running")
        assert (found.worker_kinds, found.started_at) == (("makima",), "2023-11-14T22:13:20Z")
        assert (found.workers[0].state, found.workers[0].pid) == ("running", PID + 1)
    assert stand.said == [
        f"[daemon] supervisor starting in {stand.directory}",
        "[daemon] spawning worker 'makima'",
        "[makima] run 1 of run-makima",
        "[daemon] supervisor shutting down...",
        "[daemon] supervisor stopped",
    ]
    assert stand.record.read() is None
    assert stand.runs.cancelled == 1


async def test_a_worker_hears_what_the_supervisor_was_told(stand: Stand) -> None:
    async with stand.running("makima"):
        await stand.until("run 1")
    assert stand.runs.began == [
        {
            "MINE": "yes",
            "DAEMON_WORKER_DIR": str(stand.directory),
            "DAEMON_WORKER_NAME": "trial",
            "DAEMON_WORKER_SPAWN_MODE": "same-dir",
            "DAEMON_WORKER_CAPACITY": "2",
            "DAEMON_WORKER_SANDBOX": "0",
            "DAEMON_WORKER_CREATE_SESSION": "1",
            "CLAUDE_CODE_SESSION_KIND": "daemon-worker",
        }
    ]


async def test_a_crash_loop_is_paused_ever_longer_and_then_parked(stand: Stand) -> None:
    stand.runs.script = [(1.0, 1)] * 5
    began = stand.clock.now()
    async with stand.running("makima"):
        await stand.until("parking")
        assert stand.worker == "parked"
    pauses = [line.rpartition(" ")[2] for line in stand.said if "restarting in" in line]
    assert pauses == ["2000ms", "4000ms", "8000ms", "16000ms"]
    assert "[daemon] worker 'makima' failed 5 times rapidly — parking" in stand.said
    assert stand.clock.now() - began == 5 + 2 + 4 + 8 + 16
    assert len(stand.runs.began) == 5


async def test_a_permanent_failure_is_parked_at_once_and_an_order_unparks_it(stand: Stand) -> None:
    stand.runs.script = [(1.0, 78)]
    async with stand.running("makima") as orders:
        await stand.until("exited with permanent error — parking")
        assert stand.worker == "parked"
        orders.retry()
        await stand.until("run 2")
        found = stand.record.read()
        assert found is not None
        assert (found.workers[0].state, found.workers[0].restarts) == ("running", 1)
        assert (found.workers[0].parked, found.workers[0].last_exit) == ("", "code=78, signal=null")


async def test_one_parked_worker_leaves_the_others_running(stand: Stand) -> None:
    stand.runs.script = [(0.0, 78)]
    async with stand.running("makima", "proxy"):
        await stand.until("[proxy] run 2")
        await stand.until("parking")
        found = stand.record.read()
        assert found is not None
        assert [each.state for each in found.workers] == ["parked", "running"]


async def test_a_worker_that_is_told_to_stop_is_not_started_again(stand: Stand) -> None:
    stand.runs.script = [(20.0, 0)]
    async with stand.running("makima") as orders:
        await stand.until("exited (code=0, signal=null), restarting in 2000ms")
        await stand.until("run 2")
        orders.stop.set()
    assert len(stand.runs.began) == 2


async def test_a_stop_in_a_pause_ends_it_at_once(stand: Stand) -> None:
    async def never(seconds: float) -> None:
        await asyncio.Event().wait()

    stand.runs.script = [(0.0, 1)]
    async with stand.running("makima") as orders:
        await stand.until("run 1")
        stand.clock.sleep = never  # type: ignore[method-assign]  # a pause that nothing ends
        await stand.until("restarting in")
        orders.stop.set()
    assert stand.said[-1] == "[daemon] supervisor stopped"


async def test_a_worker_without_a_program_is_parked_in_the_end(stand: Stand) -> None:
    stand.runs.missing = True
    async with stand.running("makima"):
        await stand.until("failed 5 times rapidly — parking")
    assert "[daemon] worker 'makima' cannot be started: the program gone is not installed" in (
        stand.said
    )


async def test_a_second_supervisor_is_told_who_runs(stand: Stand, tmp_path: Path) -> None:
    async with stand.running("makima"):
        await stand.until("run 1")
        second = Stand(stand.clock, Runs(stand.clock), stand.record, tmp_path)
        with pytest.raises(ExceptionGroup) as caught:
            async with second.running("makima"):
                await asyncio.sleep(0)
        (error,) = caught.value.exceptions
        assert isinstance(error, SupervisorBusyError)
        assert second.said == []
