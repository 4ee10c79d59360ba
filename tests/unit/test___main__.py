"""Starting up: what is loaded, what it costs, and how it ends in a real process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tachikoma.model.version import VERSION

pytestmark = pytest.mark.live

_HEAVY = (
    "aiohttp",
    "cryptography",
    "paramiko",
    "portalocker",
    "pydantic",
    "qemu",
    "rich",
    "structlog",
    "tachikoma.makima",
    "tachikoma.offline",
    "tachikoma.proxy.server",
    "tachikoma.vm.spawning",
)
_DEADLINE_S = 20.0


def _run(*argv: str, cwd: Path, code: str = "") -> subprocess.CompletedProcess[str]:
    program = ["-c", code] if code else ["-m", "tachikoma"]
    return subprocess.run(
        [sys.executable, *program, *argv],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=_DEADLINE_S,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


_MODULES = """
import json, sys
sys.argv = ["tachikoma", *sys.argv[1:]]
from tachikoma.__main__ import main
status = main()
print(json.dumps([status, sorted(sys.modules)]), file=sys.stderr)
"""


def _loaded(ran: subprocess.CompletedProcess[str]) -> set[str]:
    status, modules = json.loads(ran.stderr.splitlines()[-1])
    assert status == 0, ran.stderr
    return set(modules)


def test_the_version_is_told_before_anything_is_loaded(tmp_path: Path) -> None:
    ran = _run("--version", cwd=tmp_path, code=_MODULES)
    assert ran.stdout == f"tachikoma {VERSION}\n"
    assert not {"click", "asyncio", "logging", "tachikoma.cli.app"} & _loaded(ran)


_DAEMON = "import sys; from tachikoma.__main__ import makima_daemon; sys.exit(makima_daemon())"


def test_the_daemon_is_a_program_of_its_own(tmp_path: Path) -> None:
    assert _run("-V", cwd=tmp_path, code=_DAEMON).stdout == f"makima-daemon {VERSION}\n"
    ran = _run("--log-level", "debug", cwd=tmp_path, code=_DAEMON)
    assert (ran.returncode, ran.stdout) == (78, "")
    assert ran.stderr.startswith("error: the daemon does not know its server\nhint: ")


@pytest.mark.skipif(sys.platform != "linux", reason="the engine of this system is another one")
@pytest.mark.parametrize("verb", ["list", "cd"])
def test_a_quick_command_loads_nothing_heavy(verb: str, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", "-b", "main", "."], cwd=tmp_path, check=True)
    commit = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q"]
    subprocess.run([*commit, "--allow-empty", "-m", "x"], cwd=tmp_path, check=True)
    ran = _run("--hypervisor", "qemu", verb, cwd=tmp_path, code=_MODULES)
    loaded = _loaded(ran)
    assert "click" in loaded
    assert [name for name in _HEAVY if name in loaded] == []


def test_a_directory_that_is_gone_is_an_error_not_a_bug(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    script = f"rmdir '{gone}'; exec '{sys.executable}' -P -m tachikoma list"
    ran = subprocess.run(
        ["sh", "-c", script],
        cwd=gone,
        capture_output=True,
        text=True,
        timeout=_DEADLINE_S,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert ran.returncode == 1
    assert ran.stderr.startswith("error: the current directory is not there any more\n")


def test_a_closed_pipe_is_no_error(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as closed:
        ran = subprocess.run(
            [sys.executable, "-m", "tachikoma", "--hypervisor", "synthetic", "config"],
            cwd=tmp_path,
            stdout=closed,
            stderr=subprocess.PIPE,
            timeout=_DEADLINE_S,
            check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
    assert (ran.returncode, ran.stderr) == (128 + signal.SIGPIPE, b"")
