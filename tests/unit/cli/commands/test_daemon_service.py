from __future__ import annotations

import plistlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tachikoma.cli.commands.daemon_service import manager_of
from tachikoma.cli.door import Door
from tachikoma.supervisor.services import UNIT, Service
from tests.unit.cli.stand import CommandLine

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="this system has no systemd")

NEXT = "systemctl --user daemon-reload && systemctl --user enable --now tachikoma-daemon.service"


@pytest.fixture
def unit(line: CommandLine) -> Path:
    line.cwd = line.home
    return line.home / ".config/systemd/user" / UNIT


def test_a_unit_is_written_once_and_names_this_program(line: CommandLine, unit: Path) -> None:
    ran = line("daemon", "install", "--capacity", "8", "--worker", "proxy", "--no-enable")
    assert ran.out == f"~/.config/systemd/user/{UNIT} is written\nthis starts it: {NEXT}\n"
    assert (
        f'ExecStart="{sys.executable}" "-P" "-m" "tachikoma" "daemon" "start" '
        f'"--dir={line.home}" "--capacity=8" "--worker=proxy"'
    ) in unit.read_text().splitlines()
    again = line("daemon", "install", "--capacity", "8", "--worker", "proxy", "--no-enable")
    assert again.out.startswith(f"~/.config/systemd/user/{UNIT} was there already\n")
    other = line("daemon", "install", "--no-enable", "--json").data
    assert other == {"file": str(unit), "changed": True, "enabled": False, "next": NEXT}
    assert "--capacity" not in unit.read_text()


def test_no_credential_is_written_and_it_is_said_where_they_go(
    line: CommandLine, unit: Path
) -> None:
    env = {"ANTHROPIC_API_KEY": "sk-secret", "PATH": "/usr/bin"}
    ran = line("daemon", "install", "--no-enable", env=env)
    assert "sk-secret" not in unit.read_text()
    assert 'Environment="PATH=/usr/bin"' in unit.read_text()
    assert ran.err.startswith("the service does not get this shell's ANTHROPIC_API_KEY; it reads ")
    assert "~/.config/tachikoma/daemon.env" in ran.err


def test_a_worker_that_does_not_exist_is_not_installed(line: CommandLine, unit: Path) -> None:
    assert line("daemon", "install", "--worker", "nobody", "--no-enable").status == 2
    assert not unit.exists()


def test_what_is_not_installed_is_not_uninstalled(line: CommandLine, unit: Path) -> None:
    assert line("daemon", "uninstall").out == f"there was no ~/.config/systemd/user/{UNIT}\n"
    assert line("daemon", "uninstall", "--json").data == {"file": str(unit), "was_there": False}


@pytest.mark.live
def test_a_manager_that_cannot_be_reached_is_said_and_the_file_stays(
    line: CommandLine, unit: Path, no_manager: None
) -> None:
    ran = line("daemon", "install")
    assert ran.status == 0
    assert ran.out.splitlines()[0] == f"~/.config/systemd/user/{UNIT} is written"
    assert ran.out.splitlines()[1].startswith("systemctl cannot be used here: ")
    assert ran.out.splitlines()[2] == f"this starts it: {NEXT}"
    assert unit.exists()
    assert line("daemon", "uninstall").out == f"~/.config/systemd/user/{UNIT} is removed\n"
    assert not unit.exists()


@pytest.mark.live
def test_the_manager_is_told_in_order(
    line: CommandLine, unit: Path, managed: Callable[[], list[str]]
) -> None:
    ran = line("daemon", "install")
    assert "it runs, and starts with each login" in ran.out
    assert managed() == ["--user daemon-reload", f"--user enable --now {UNIT}"]
    line("daemon", "install")
    assert managed()[2:] == managed()[:2]
    line("daemon", "install", "--capacity", "3")
    assert managed()[4:] == [*managed()[:2], f"--user restart {UNIT}"]
    line("daemon", "uninstall")
    assert managed()[7:] == [f"--user disable --now {UNIT}", "--user daemon-reload"]
    assert not unit.exists()


@pytest.fixture
def managed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """A ``systemctl`` that notes what it is told."""
    notes = tmp_path / "told"
    program = tmp_path / "bin" / "systemctl"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> {notes}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return lambda: notes.read_text().splitlines()


@pytest.fixture
def no_manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ``systemctl`` that reaches nobody."""
    program = tmp_path / "systemctl"
    program.write_text("#!/bin/sh\necho Failed to connect to bus >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")


def test_on_a_mac_it_is_an_agent_of_launchd(door: Door) -> None:
    manager = manager_of(door.runtime, "darwin")
    home = door.runtime.paths.home
    assert manager.file == home / "Library/LaunchAgents/dev.tachikoma.daemon.plist"
    service = Service(("/py",), home, {}, home / "env", home / "log")
    assert plistlib.loads(manager.text(service))["Label"] == "dev.tachikoma.daemon"
    assert manager.enable[0][:2] == ["launchctl", "bootstrap"]
    assert manager.disable[0][:2] == ["launchctl", "bootout"]
