"""What needs no running supervisor; the rest is in the live tests of the supervisor itself."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tachikoma.host import process
from tachikoma.model.errors import HypervisorError
from tachikoma.supervisor.record import RecordFile, SupervisorRecord, WorkerRecord
from tests.unit.cli.stand import CommandLine

STOPPED = """\
=== Daemon Supervisor ===
  Status:   stopped

=== Background Sessions ===
  none; `tachikoma daemon bg` starts one
"""


def recorded(line: CommandLine, *workers: WorkerRecord, alive: bool = True) -> RecordFile:
    """Have this process for a supervisor, or one that is gone."""
    file = RecordFile(line.home / ".config/tachikoma/daemon.json")
    pid = os.getpid()
    record = SupervisorRecord(
        pid=pid,
        started=(process.start_time(pid) or "") if alive else "long ago",
        cwd=str(line.home / "code"),
        started_at="2026-11-21T10:00:00Z",
        worker_kinds=tuple(each.kind for each in workers),
        last_status="running",
        name="",
        log="/log",
        workers=workers,
    )
    with file.held():
        file.write(record)
    return file


def workers(now: float) -> tuple[WorkerRecord, ...]:
    makima = WorkerRecord(kind="makima", why="MAKIMA_API_KEY is set", state="running", pid=7)
    proxy = WorkerRecord(kind="proxy", why="VMs reach the API through it")
    return (
        replace(makima, restarts=1, last_exit="code=1, signal=null"),
        replace(
            proxy, state="waiting", retry_at=now + 4, restarts=2, last_exit="code=2, signal=null"
        ),
        replace(proxy, kind="relay", state="parked", parked="it failed too often", rapid=5),
        replace(proxy, kind="other"),
    )


@pytest.mark.parametrize("words", [(), ("status",), ("ps",)])
def test_nothing_runs_at_first(line: CommandLine, words: tuple[str, ...]) -> None:
    assert line("daemon", *words).out == STOPPED
    assert line("daemon", *words, "--json").data == {
        "supervisor": {"status": "stopped"},
        "sessions": [],
        "sessions_unknown": None,
    }


def test_a_running_supervisor_is_shown_with_its_workers(line: CommandLine) -> None:
    recorded(line, *workers(line.clock.now()))
    ran = line("daemon")
    assert ran.out.partition("\n\n")[0] == (
        "=== Daemon Supervisor ===\n"
        "  Status:   running\n"
        f"  PID:      {os.getpid()}\n"
        "  CWD:      ~/code\n"
        "  Started:  2026-11-21T10:00:00Z\n"
        "  Workers:  makima, proxy, relay, other\n"
        "            makima  running (PID 7), 1 restart, last ended with code=1, signal=null\n"
        "                    run because: MAKIMA_API_KEY is set\n"
        "            proxy   waiting, starts again in 4.0 s, 2 restarts, last ended with code=2, "
        "signal=null\n"
        "                    run because: VMs reach the API through it\n"
        "            relay   parked; `tachikoma daemon retry` starts it again\n"
        "                    it failed too often\n"
        "                    run because: VMs reach the API through it\n"
        "            other   starting\n"
        "                    run because: VMs reach the API through it"
    )
    told = line("daemon", "--json").data["supervisor"]
    assert (told["status"], told["pid"], told["left_over"]) == ("running", os.getpid(), [])
    assert [each["state"] for each in told["workers"]] == [
        "running",
        "waiting",
        "parked",
        "starting",
    ]


def test_a_dead_supervisor_is_shown_once_and_cleaned_up(line: CommandLine) -> None:
    recorded(line, alive=False)
    assert "  Status:   stale (cleaned up)\n" in line("daemon").out
    assert line("daemon").out == STOPPED


def test_a_dead_supervisor_whose_workers_live_is_no_clean_matter(line: CommandLine) -> None:
    pid = os.getpid()
    mine = WorkerRecord(kind="proxy", why="", pid=pid, started=process.start_time(pid) or "")
    recorded(line, mine, alive=False)
    for _ in range(2):
        assert line("daemon").out.startswith(
            "=== Daemon Supervisor ===\n"
            "  Status:   stale\n"
            f"  Left:     proxy (PID {pid}); `tachikoma daemon stop` ends that\n"
        )
    assert line("daemon", "--json").data["supervisor"]["left_over"] == ["proxy"]


def test_the_supervisor_is_shown_where_the_engine_fails(line: CommandLine) -> None:
    line.engine.fail_next("vms", HypervisorError("no power", hint="plug it in"))
    assert line("daemon").out.endswith("=== Background Sessions ===\n  unknown: no power\n")


def test_stopping_and_retrying_without_a_supervisor(line: CommandLine) -> None:
    assert line("daemon", "stop").out == "daemon is not running\n"
    recorded(line, alive=False)
    assert line("daemon", "stop").out == "daemon was stale (cleaned up)\n"
    ran = line("daemon", "retry")
    assert (ran.status, ran.err.splitlines()[0]) == (1, "error: no supervisor is running")


def test_help_tells_the_commands_and_the_options_of_start(line: CommandLine) -> None:
    ran = line("daemon", "help")
    assert ran.status == 0
    for word in (
        "attach",
        "bg",
        "retry",
        "--spawn-mode",
        "--capacity",
        "--sandbox",
        "--background",
    ):
        assert word in ran.out
    assert "--quiet" not in ran.out
    assert line("daemon", "help", "--json").data["text"] == ran.out.rstrip("\n")


def test_what_does_not_exist_is_wrong_usage(line: CommandLine) -> None:
    ran = line("daemon", "strt")
    assert (ran.status, ran.err.splitlines()[-1]) == (
        2,
        "hint: `tachikoma daemon --help` tells more",
    )
    ran = line("daemon", "start", "--worker", "nobody")
    assert ran.status == 2
    assert ran.err.startswith("error: there is no worker 'nobody'")
    assert line("daemon", "start", "--dir", str(Path("/no/such/place"))).status == 2


def test_a_second_supervisor_is_not_started(line: CommandLine) -> None:
    file = recorded(line, *workers(0.0))
    with file.held():
        for words in ((), ("-b",)):
            error = line("daemon", "start", "--dir", "/", *words, "--json").error
            assert error["code"] == "supervisor.busy"
            assert f"process {os.getpid()}, in {line.home}/code" in error["message"]
