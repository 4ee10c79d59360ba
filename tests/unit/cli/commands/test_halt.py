from __future__ import annotations

from tests.unit.cli.stand import CommandLine


def test_it_stops_the_vm_of_the_current_branch(line: CommandLine) -> None:
    line("spawn")
    assert line("halt").out == "tachikoma-box-main halted\n"
    assert line("list", "--json").data["vms"][0]["state"] == "stopped"


def test_a_vm_that_does_not_run_is_no_error(line: CommandLine) -> None:
    line("spawn")
    line("stop")
    ran = line("stop")
    assert (ran.status, ran.out) == (0, "tachikoma-box-main was not running\n")


def test_force_switches_it_off(line: CommandLine) -> None:
    line("spawn")
    assert line("halt", "--force", "--json").data["was_running"] is True
