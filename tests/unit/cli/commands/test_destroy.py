from __future__ import annotations

import pytest

from tests.unit.cli.stand import CommandLine


@pytest.mark.parametrize("option", ["--yes", "-y", "--force"])
def test_it_removes_the_vm_and_says_what_stays(line: CommandLine, option: str) -> None:
    line("spawn", "feature/x")
    ran = line("destroy", "feature/x", option)
    assert ran.out == (
        "tachikoma-box-feature-x destroyed\n"
        "  the branch feature/x stays, and its worktree /src/box-feature-x\n"
    )
    assert line("list", "--json").data == {"vms": []}


def test_nothing_is_destroyed_where_nobody_can_be_asked(line: CommandLine) -> None:
    line("spawn")
    for ran in (line("destroy"), line("destroy", "--json", tty=True)):
        assert ran.status == 2
    assert len(line("list", "--json").data["vms"]) == 1


def test_on_a_terminal_it_asks_by_name(line: CommandLine) -> None:
    line("spawn")
    line.answer = "y\n"
    ran = line("destroy", tty=True)
    assert "Destroy tachikoma-box-main (branch main) with its disk? [y/N] " in ran.err
    assert ran.status == 0
    assert line("list", "--json").data == {"vms": []}


@pytest.mark.parametrize("answer", ["n\n", "\n", "", "yo\n"])
def test_anything_but_a_yes_is_a_no(line: CommandLine, answer: str) -> None:
    line("spawn")
    line.answer = answer
    ran = line("destroy", tty=True)
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.endswith("nothing was destroyed\n")
    assert len(line("list", "--json").data["vms"]) == 1


def test_a_vm_that_is_not_there_is_an_error(line: CommandLine) -> None:
    ran = line("delete", "nope", "--yes", "--json")
    assert ran.status == 1
    assert ran.error["code"] == "vm.not_found"
    assert ran.envelope["command"] == "destroy"
