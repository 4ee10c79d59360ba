from __future__ import annotations

from pathlib import Path

from tests.unit.cli.stand import CommandLine


def test_it_prints_the_worktree_of_a_vm_and_nothing_else(line: CommandLine) -> None:
    line("spawn", "feature/x")
    for name in ("feature/x", "tachikoma-box-feature-x"):
        ran = line("cd", name)
        assert (ran.status, ran.out, ran.err) == (0, "/src/box-feature-x\n", "")


def test_a_branch_that_is_checked_out_needs_no_vm(line: CommandLine) -> None:
    assert line("cd").out == "/src/box\n"
    assert line("cd", "main").out == "/src/box\n"


def test_from_anywhere_a_vm_is_found_by_its_name(line: CommandLine) -> None:
    line("spawn")
    line.cwd = Path("/elsewhere")
    assert line("cd", "tachikoma-box-main").out == "/src/box\n"


def test_a_name_that_means_nothing_prints_nothing(line: CommandLine) -> None:
    ran = line("cd", "nope")
    assert (ran.status, ran.out) == (1, "")
    assert "`tachikoma spawn nope`" in ran.err
