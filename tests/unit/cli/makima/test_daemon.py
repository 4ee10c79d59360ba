from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tachikoma.model.checks import Check
from tachikoma.model.errors_fleet import RefusedError
from tachikoma.model.version import VERSION
from tests.unit.cli.stand import CommandLine

READY = {
    "MAKIMA_API_KEY": "mk_0123456789",
    "MAKIMA_DAEMON_SERVER_URL": "ws://localhost:8080",
    "MAKIMA_DAEMON_PROCESS_ISOLATION": "vm",
}
BROKEN = Check("kvm", ok=False, required=True, found="no engine", fix="install it", why="runs VMs")


def test_it_runs_a_daemon_with_the_settings_and_says_so(line: CommandLine) -> None:
    ran = line("makima", "daemon", "--max-tasks", "8", "--repos-dir", "clones", env=READY)
    assert (ran.status, ran.out) == (0, "")
    (settings,) = line.daemons
    assert settings.server.url == "ws://localhost:8080/ws/daemon"
    assert settings.process.max_concurrent_tasks == 8
    assert settings.worktree.repos_dir == line.cwd / "clones"
    first, last = ran.err.splitlines()
    assert f"makima-daemon {VERSION} starts" in first
    for word in ("server=ws://localhost:8080/ws/daemon", "isolation=vm", "max_tasks=8"):
        assert word in first
    assert "the daemon has stopped" in last
    assert "mk_0123456789" not in ran.err


def test_every_option_sets_its_key(line: CommandLine) -> None:
    ran = line(
        *("makima", "daemon", "-s", "wss://h.example", "-k", "key", "-m", "2", "-l", "error"),
        *("--repos-dir", "/r", "--worktrees-dir", "/w"),
        env=READY,
    )
    assert (ran.status, ran.err) == (0, "")
    (settings,) = line.daemons
    assert settings.server.url == "wss://h.example/ws/daemon"
    assert settings.server.api_key == "key"
    assert settings.process.max_concurrent_tasks == 2
    assert settings.logging.level == "error"
    assert settings.worktree.repos_dir == Path("/r")
    assert settings.worktree.base_dir == Path("/w")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_with_status_0(line: CommandLine, number: signal.Signals) -> None:
    ended: list[str] = []

    async def works() -> None:
        try:
            signal.raise_signal(number)
            await asyncio.Event().wait()
        finally:
            ended.append("cleaned up")

    line.daemon = works
    ran = line("makima", "daemon", env=READY)
    assert (ran.status, ended) == (0, ["cleaned up"])
    assert "the daemon has stopped" in ran.err


def without(*names: str) -> Mapping[str, str]:
    return {name: value for name, value in READY.items() if name not in names}


@pytest.mark.parametrize(
    ("argv", "environ", "message"),
    [
        ((), without("MAKIMA_DAEMON_SERVER_URL"), "the daemon does not know its server"),
        ((), without("MAKIMA_API_KEY"), "the daemon has no key for ws://localhost:8080/ws/daemon"),
        (("-s", "localhost:8080"), READY, "--server-url is 'localhost:8080', and should be"),
        (("-m", "none"), READY, "--max-tasks is 'none', and should be a whole number"),
        (("-l", "loud"), READY, "--log-level is 'loud', and should be one of"),
        (("-c", "/gone.toml"), READY, "there is no file /gone.toml"),
        (
            (),
            READY
            | {"MAKIMA_DAEMON_PROCESS_CLAUDE_COMMAND": "x", "MAKIMA_DAEMON_LOGGING_FORMAT": "x"},
            "MAKIMA_DAEMON_LOGGING_FORMAT is 'x', and should be one of",
        ),
    ],
)
def test_what_a_restart_does_not_mend_ends_with_status_78(
    line: CommandLine, argv: tuple[str, ...], environ: Mapping[str, str], message: str
) -> None:
    ran = line("makima", "daemon", *argv, env=environ)
    assert ran.status == 78
    assert f"error: {message}" in ran.err
    assert "hint: " in ran.err
    assert line.daemons == []


def test_a_missing_agent_ends_it_where_agents_work_on_this_host(line: CommandLine) -> None:
    host = READY | {
        "MAKIMA_DAEMON_PROCESS_ISOLATION": "worktree",
        "MAKIMA_DAEMON_PROCESS_CLAUDECOMMAND": "/gone/claude",
    }
    ran = line("makima", "daemon", env=host)
    assert ran.status == 78
    assert "error: the program /gone/claude is not installed\n" in ran.err
    auto = host | {"MAKIMA_DAEMON_PROCESS_ISOLATION": "auto"}
    assert line("makima", "daemon", env=auto).status == 0
    line.engine_parts = [BROKEN]
    ran = line("makima", "daemon", env=auto)
    assert ran.status == 78
    assert "and this host runs no VMs" in ran.err
    assert (
        line("makima", "daemon", env=host | {"MAKIMA_DAEMON_PROCESS_ISOLATION": "vm"}).status == 0
    )


def test_broken_settings_of_tachikoma_end_it_with_status_78(line: CommandLine) -> None:
    file = line.home / ".config/tachikoma/config.toml"
    file.parent.mkdir(parents=True)
    file.write_text("vm_cpus = 'many'\n")
    ran = line("makima", "daemon", env=READY)
    assert ran.status == 78
    assert "vm_cpus is 'many'" in ran.err


def test_what_the_daemon_fails_with_is_told_and_in_json_logged(line: CommandLine) -> None:
    async def refused() -> None:
        raise RefusedError("the server refuses the key", hint="check MAKIMA_API_KEY")

    line.daemon = refused
    ran = line("makima", "daemon", env=READY)
    assert ran.status == 78
    assert "error: the server refuses the key\nhint: check MAKIMA_API_KEY\n" in ran.err
    as_json = line("makima", "daemon", env=READY | {"MAKIMA_DAEMON_LOGGING_FORMAT": "json"})
    logged = json.loads(as_json.err.splitlines()[1])
    assert (logged["level"], logged["code"]) == ("error", "makima.refused")
    assert logged["exit_status"] == 78


def test_warnings_about_the_configuration_are_logged(line: CommandLine) -> None:
    ran = line("makima", "daemon", env=READY | {"MAKIMA_DAEMON_NONSENSE": "1"})
    assert "MAKIMA_DAEMON_NONSENSE is not applied" in ran.err.splitlines()[0]


def test_what_a_daemon_logs_comes_out_without_its_key(line: CommandLine) -> None:
    async def works() -> None:
        logging.getLogger("tachikoma.makima.link").info("connected with mk_0123456789")

    line.daemon = works
    ran = line("makima", "daemon", env=READY)
    assert "connected with [redacted]" in ran.err


def test_help_tells_both_names_and_version_the_programs(
    line: CommandLine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert line("makima", "daemon", "-h").status == 0
    told = capsys.readouterr().out
    assert told.startswith(
        "Usage: tachikoma makima daemon [OPTIONS]\n   or: makima-daemon [OPTIONS]"
    )
    assert line("makima", "daemon", "-V").status == 0
    assert capsys.readouterr().out == f"makima-daemon {VERSION}\n"


_PROGRAM = """
import asyncio, sys
from tachikoma.cli import app
from tachikoma.cli.terminal import current_directory, this_terminal
from tachikoma.runtime import Runtime

class Waits:
    async def run(self):
        await asyncio.Event().wait()

class Joined(Runtime):
    async def makima_daemon(self, settings):
        return Waits()

def join(terminal, engine):
    return Joined(environ=terminal.environ, cwd=current_directory(), hypervisor="synthetic")

sys.exit(app.main(["makima", "daemon"], terminal=this_terminal(), make_runtime=join))
"""


@pytest.mark.live
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_real_process_ends_with_status_0_and_a_log_of_json(
    tmp_path: Path, number: signal.Signals
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={
            **os.environ,
            **READY,
            "MAKIMA_DAEMON_LOGGING_FORMAT": "json",
            "PYTHONPATH": os.pathsep.join(sys.path),
        },
    )
    try:
        assert process.stderr is not None
        first = json.loads(process.stderr.readline())
        assert first["message"] == f"makima-daemon {VERSION} starts"
        assert first["server"] == "ws://localhost:8080/ws/daemon"
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, out) == (0, b"")
    assert json.loads(err)["message"] == "the daemon has stopped"
