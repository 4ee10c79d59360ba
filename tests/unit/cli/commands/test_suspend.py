from __future__ import annotations

from tachikoma.hypervisor.synthetic import Synthetic
from tachikoma.model.vm import Feature
from tachikoma.vm.provision.rehearsal import RehearsedGuest
from tests.unit.cli.stand import CommandLine


def test_it_halts_and_says_why(line: CommandLine) -> None:
    line("spawn")
    assert line("suspend").out == (
        "tachikoma-box-main halted: a suspended Linux guest does not come back whole\n"
    )
    assert line("list", "--json").data["vms"][0]["state"] == "stopped"


def test_an_engine_that_cannot_suspend_gives_its_own_reason(line: CommandLine) -> None:
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


def test_a_vm_that_does_not_run_is_left_alone(line: CommandLine) -> None:
    line("spawn")
    line("halt")
    assert line("suspend").out == "tachikoma-box-main was not running\n"
