"""Supervisors of real processes, and what becomes of those when everything goes wrong."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tachikoma.host import process
from tachikoma.host.clock import SystemClock
from tachikoma.supervisor.control import Standing, SupervisorControl
from tachikoma.supervisor.record import WorkerRecord
from tests.conftest import ROOT
from tests.live.supervising import log_file, record_file

pytestmark = pytest.mark.live

WAIT_S = 10.0
FOREVER = "while :; do sleep 0.1; done"
COUNTED = 'echo run >> "$PLACE/runs"; '
DEAF = f"trap '' TERM; {COUNTED}{FOREVER}"


class Running:
    """A supervisor in a process of its own, and what it has said so far."""

    def __init__(self, program: subprocess.Popen[str], place: Path) -> None:
        self.program = program
        self.place = place
        self.said: list[str] = []

    def until(self, text: str) -> str:
        """Give the line that holds ``text``, once it is said."""
        assert self.program.stdout is not None
        for line in self.program.stdout:
            self.said.append(line.rstrip("\n"))
            if text in line:
                return self.said[-1]
        raise AssertionError(f"{text!r} was not said: {self.said}")

    def tell(self, number: signal.Signals) -> None:
        self.program.send_signal(number)

    def end(self) -> list[str]:
        """Give all that it said, once it has ended by itself."""
        assert self.program.stdout is not None
        self.said += [line.rstrip("\n") for line in self.program.stdout]
        self.program.wait(WAIT_S)
        return self.said

    @property
    def worker(self) -> WorkerRecord:
        """Its first worker, as it is recorded once it runs."""
        found = within(lambda: _running_worker(self.place))
        assert isinstance(found, WorkerRecord)
        return found


def _running_worker(place: Path) -> WorkerRecord | None:
    found = record_file(place).read()
    return found.workers[0] if found and found.workers[0].state == "running" else None


def within(look: Any) -> Any:
    """Give what ``look`` sees, once that is something."""
    end = time.monotonic() + WAIT_S
    while not (found := look()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
    return found


@contextlib.contextmanager
def supervising(place: Path, *workers: str, grace_s: float = 5.0) -> Iterator[Running]:
    """Run a supervisor; it and its workers are dead in the end."""
    argv = [sys.executable, "-m", "tests.live.supervising", str(place), str(grace_s), *workers]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as program:
        try:
            yield Running(program, place)
        finally:
            program.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                program.wait(WAIT_S)
            program.kill()


def control(place: Path) -> SupervisorControl:
    return SupervisorControl(record=record_file(place), clock=SystemClock(), grace_s=0.2)


def test_a_crash_loop_is_parked_and_goes_on_when_told(tmp_path: Path) -> None:
    with supervising(tmp_path, f"loop={COUNTED}exit 3", "good=" + FOREVER) as running:
        running.until("worker 'loop' failed 5 times rapidly — parking")
        pauses = [line for line in running.said if "restarting in" in line]
        assert [line.rpartition(" ")[2] for line in pauses] == [
            "2000ms",
            "4000ms",
            "8000ms",
            "16000ms",
        ]
        assert (
            pauses[0] == "[daemon] worker 'loop' exited (code=3, signal=null), restarting in 2000ms"
        )
        assert (tmp_path / "runs").read_text() == "run\n" * 5
        found = record_file(tmp_path).read()
        assert found is not None
        assert [each.state for each in found.workers] == ["parked", "running"]
        control(tmp_path).retry()
        running.until("spawning worker 'loop'")
        running.tell(signal.SIGINT)
        assert running.end()[-1] == "[daemon] supervisor stopped"
    assert control(tmp_path).look().standing is Standing.STOPPED


def test_a_permanent_failure_is_parked_after_one_run(tmp_path: Path) -> None:
    with supervising(tmp_path, f"wrong={COUNTED}echo no key >&2; exit 78") as running:
        running.until("worker 'wrong' exited with permanent error — parking")
        assert "[wrong] no key" in running.said
        assert (tmp_path / "runs").read_text() == "run\n"


def test_a_stop_in_a_pause_ends_at_once_and_nothing_starts_again(tmp_path: Path) -> None:
    with supervising(tmp_path, f"loop={COUNTED}kill -SEGV $$") as running:
        running.until("(code=null, signal=SIGSEGV), restarting in 16000ms")
        began = time.monotonic()
        running.tell(signal.SIGTERM)
        running.end()
        assert time.monotonic() - began < 0.6
        assert running.program.returncode == 0
    assert (tmp_path / "runs").read_text() == "run\n" * 4


def test_of_two_started_at_once_one_runs_and_the_other_says_who(tmp_path: Path) -> None:
    worker = f"one={COUNTED}{FOREVER}"
    with supervising(tmp_path, worker) as first, supervising(tmp_path, worker) as second:
        both = (first, second)
        within(lambda: [each for each in both if each.program.poll() is not None])
        (loser,) = [each for each in both if each.program.poll() is not None]
        (winner,) = [each for each in both if each is not loser]
        assert loser.program.returncode == 1
        (told,) = loser.end()
        assert told.startswith("error: a")
        assert "supervisor" in told
        assert winner.worker.alive
        with supervising(tmp_path, worker) as third:
            (told,) = third.end()
            assert told.startswith(
                f"error: a supervisor runs already: process {winner.program.pid}, in {tmp_path}"
            )
    assert (tmp_path / "runs").read_text() == "run\n"


def test_after_kill_9_there_is_one_generation_of_workers(tmp_path: Path) -> None:
    with supervising(tmp_path, f"deaf={DEAF}") as first:
        left = first.worker
        first.program.kill()
        first.program.wait(WAIT_S)
    assert left.alive  # it hears no TERM, the kernel's neither
    found = control(tmp_path).look()
    assert (found.standing, found.cleaned) == (Standing.STALE, False)
    with supervising(tmp_path, f"deaf={DEAF}", grace_s=0.3) as second:
        second.until("spawning")
        running = second.worker
        assert running.pid != left.pid
        assert process.start_time(left.pid or 0) != left.started
        line = f"[daemon] ending worker 'deaf' (PID: {left.pid}), left by PID {first.program.pid}"
        second.tell(signal.SIGTERM)
        assert line in second.end()
    assert not running.alive


async def test_a_stop_after_kill_9_ends_what_was_left(tmp_path: Path) -> None:
    with supervising(tmp_path, f"deaf={DEAF}") as running:
        left = running.worker
        running.program.kill()
        running.program.wait(WAIT_S)
    before = control(tmp_path).look()
    assert (before.standing, before.cleaned) == (Standing.STALE, False)
    await control(tmp_path).stop(before)
    assert not left.alive
    assert control(tmp_path).look().standing is Standing.STOPPED


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of this system has no such signal")
def test_a_worker_ends_with_its_supervisor_however_that_dies(tmp_path: Path) -> None:
    with supervising(tmp_path, f"good={FOREVER}") as running:
        worker = running.worker
        within(lambda: process.command_line(worker.pid or 0)[:1] == ("sh",))
        running.program.kill()
        within(lambda: not worker.alive)
    assert control(tmp_path).look().standing is Standing.STALE
    assert control(tmp_path).look().standing is Standing.STOPPED


def test_a_worker_that_does_not_end_is_killed_after_the_grace(tmp_path: Path) -> None:
    with supervising(tmp_path, f"deaf={DEAF}", grace_s=0.5) as running:
        worker = running.worker
        within((tmp_path / "runs").exists)
        began = time.monotonic()
        running.tell(signal.SIGTERM)
        running.until("shutting down")
        within(lambda: (it := record_file(tmp_path).read()) and it.last_status == "stopping")
        running.end()
        assert 0.4 < time.monotonic() - began < 3
    assert not worker.alive


def test_a_second_ctrl_c_does_not_wait_for_the_grace(tmp_path: Path) -> None:
    with supervising(tmp_path, f"deaf={DEAF}", grace_s=60.0) as running:
        worker = running.worker
        within((tmp_path / "runs").exists)
        running.tell(signal.SIGINT)
        running.until("shutting down")
        running.tell(signal.SIGINT)
        assert running.end()[-1] == "[daemon] supervisor stopped"
    assert not worker.alive


def test_the_log_of_a_worker_that_talks_without_end_stays_small(tmp_path: Path) -> None:
    talk = (
        "i=0; while [ $i -lt 70 ]; do i=$((i+1)); head -c 100000 /dev/zero | tr '\\0' x; echo; done"
    )
    with supervising(tmp_path, f"talk={talk}; echo all is said; {FOREVER}") as running:
        running.until("all is said")
        files = sorted(log_file(tmp_path).parent.iterdir())
        assert [each.name for each in files] == [
            f"daemon.log{end}" for end in ("", ".1", ".2", ".3")
        ]
        assert sum(each.stat().st_size for each in files) <= 4 << 20
        assert "all is said" in files[0].read_text()


def test_the_record_is_what_others_can_read(tmp_path: Path) -> None:
    with supervising(tmp_path, f"good={FOREVER}") as running:
        worker = running.worker
        plain = json.loads((tmp_path / "daemon.json").read_text())
        assert plain["pid"] == running.program.pid
        assert plain["workerKinds"] == ["good"]
        assert plain["lastStatus"] == "running"
        assert plain["workers"][0]["pid"] == worker.pid
        assert os.getpgid(worker.pid or 0) == worker.pid
