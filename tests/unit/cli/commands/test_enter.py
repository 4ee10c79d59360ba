from __future__ import annotations

from tests.unit.cli.stand import CommandLine


def test_on_a_terminal_it_becomes_the_session(line: CommandLine) -> None:
    line("spawn", "feature/x")
    ran = line("enter", "feature/x", tty=True)
    assert ran.became == ("ssh", "-t", "admin@tachikoma-box-feature-x", "/src/box-feature-x")


def test_without_a_terminal_it_prints_the_ssh_command(line: CommandLine) -> None:
    line("spawn")
    assert line("enter").out == "ssh -t admin@tachikoma-box-main /src/box\n"


def test_a_vm_that_is_stopped_is_not_started(line: CommandLine) -> None:
    line("spawn")
    line("halt")
    ran = line("--json", "enter")
    assert ran.status == 1
    assert ran.error["code"] == "vm.not_running"
    assert "tachikoma spawn" in ran.error["hint"]
