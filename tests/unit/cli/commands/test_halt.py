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


def test_suspend_keeps_its_memory_as_the_verb_of_that_name_does(line: CommandLine) -> None:
    line("spawn")
    assert line("halt", "--suspend").out == "tachikoma-box-main suspended\n"
    assert line("list", "--json").data["vms"][0]["state"] == "suspended"


def test_halting_gives_up_a_memory_that_was_kept(line: CommandLine) -> None:
    line("spawn")
    line("suspend")
    line("halt")
    assert line("list", "--json").data["vms"][0]["state"] == "stopped"


def test_nothing_is_switched_off_that_is_to_keep_its_memory(line: CommandLine) -> None:
    line("spawn")
    ran = line("halt", "--force", "--suspend")
    assert (ran.status, ran.out) == (2, "")
    assert ran.err == "error: --force and --suspend exclude each other\nhint: leave one out\n"
    assert line("list", "--json").data["vms"][0]["state"] == "running"
