from __future__ import annotations

from tachikoma.hypervisor.synthetic import Synthetic
from tachikoma.model.errors import VmInUseError
from tachikoma.model.vm import Feature
from tachikoma.vm.provision.rehearsal import RehearsedGuest
from tests.unit.cli.stand import CommandLine


def test_it_keeps_the_memory_of_the_vm_of_the_current_branch(line: CommandLine) -> None:
    line("spawn")
    assert line("suspend").out == "tachikoma-box-main suspended\n"
    assert line("list", "--json").data["vms"][0]["state"] == "suspended"


def test_a_suspended_vm_goes_on_at_the_next_spawn(line: CommandLine) -> None:
    line("spawn")
    line("suspend")
    assert line("spawn", "--json").data["how"] == "started"
    assert line("list", "--json").data["vms"][0]["state"] == "running"


def test_a_vm_that_is_at_rest_already_stays_as_it_is(line: CommandLine) -> None:
    line("spawn")
    line("suspend")
    assert line("suspend").out == "tachikoma-box-main was not running\n"
    assert line("list", "--json").data["vms"][0]["state"] == "suspended"


def test_what_uses_the_worktree_is_told_and_the_vm_runs_on(line: CommandLine) -> None:
    line("spawn")
    error = VmInUseError("in use", hint="end it", details="bash (process 7) uses /src/box")
    line.engine.fail_next("suspend", error)
    ran = line("suspend")
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.endswith("error: in use\n  bash (process 7) uses /src/box\nhint: end it\n")
    assert line("list", "--json").data["vms"][0]["state"] == "running"


def test_an_engine_that_cannot_suspend_halts_and_gives_its_reason(line: CommandLine) -> None:
    no = Feature(available=False, why="it shares directories")
    line.engine = Synthetic(file=None, clock=line.clock, guest=RehearsedGuest(), suspend=no)
    line("spawn")
    assert line("suspend", "--json").data == {
        "name": "tachikoma-box-main",
        "branch": "main",
        "was_running": True,
        "how": "halted",
        "why": "it shares directories",
    }
    line("spawn")
    assert line("suspend").out == "tachikoma-box-main halted: it shares directories\n"
    assert line("list", "--json").data["vms"][0]["state"] == "stopped"


def test_a_vm_that_does_not_run_is_left_alone(line: CommandLine) -> None:
    line("spawn")
    line("halt")
    assert line("suspend").out == "tachikoma-box-main was not running\n"
