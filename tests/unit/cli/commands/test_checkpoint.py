from __future__ import annotations

import pytest

from tests.unit.cli.stand import CommandLine

VM = "tachikoma-box-main"


@pytest.fixture
def spawned(line: CommandLine) -> CommandLine:
    line("spawn")
    line("spawn", "feature/x")
    return line


def state(line: CommandLine, name: str = VM) -> str:
    (found,) = (vm for vm in line("list", "--json").data["vms"] if vm["name"] == name)
    return str(found["state"])


def test_it_keeps_the_disk_of_the_current_branch_and_the_vm_runs_on(spawned: CommandLine) -> None:
    assert spawned("checkpoint", "save", "one").out == f"{VM}: checkpoint one saved\n"
    assert state(spawned) == "running"
    assert spawned("checkpoint", "save", "two", "--json").data == {
        "name": VM,
        "branch": "main",
        "label": "two",
        "worktree": "/src/box",
        "halted": False,
    }


@pytest.mark.parametrize("name", ["feature/x", "tachikoma-box-feature-x"])
def test_another_vm_is_named_before_the_label(spawned: CommandLine, name: str) -> None:
    ran = spawned("checkpoint", "save", name, "one")
    assert ran.out == "tachikoma-box-feature-x: checkpoint one saved\n"
    listed = spawned("checkpoint", "list", name, "--json").data
    assert (listed["branch"], [each["label"] for each in listed["checkpoints"]]) == (
        "feature/x",
        ["one"],
    )
    assert spawned("checkpoint", "list", "--json").data["checkpoints"] == []


def test_they_are_listed_with_their_age(spawned: CommandLine) -> None:
    spawned("checkpoint", "save", "before-upgrade")
    assert spawned("checkpoint", "list").out == "LABEL           SAVED\nbefore-upgrade  now\n"


def test_none_is_said_with_what_makes_one(spawned: CommandLine) -> None:
    ran = spawned("checkpoint", "list")
    assert (ran.status, ran.out) == (0, "")
    assert ran.err == f"{VM} has no checkpoints; `checkpoint save LABEL` makes one\n"


@pytest.mark.parametrize("option", ["--yes", "-y", "--force"])
def test_going_back_stops_the_vm_and_says_what_stays(spawned: CommandLine, option: str) -> None:
    spawned("checkpoint", "save", "one")
    assert spawned("checkpoint", "restore", "one", option).out == (
        f"{VM} is as it was at one; `tachikoma spawn` starts it\n"
        "  its worktree /src/box stays as it is\n"
    )
    assert state(spawned) == "stopped"
    assert state(spawned, "tachikoma-box-feature-x") == "running"


def test_going_back_asks_on_a_terminal_and_refuses_without_one(spawned: CommandLine) -> None:
    spawned("checkpoint", "save", "one")
    assert spawned("checkpoint", "restore", "one").status == 2
    spawned.answer = "n\n"
    ran = spawned("checkpoint", "restore", "one", tty=True)
    assert (ran.status, ran.out) == (1, "")
    assert "Give up what was written since one? [y/N] " in ran.err
    assert ran.err.endswith("nothing was changed\n")
    assert state(spawned) == "running"
    spawned.answer = "y\n"
    assert spawned("checkpoint", "restore", "one", tty=True).status == 0
    assert state(spawned) == "stopped"


def test_a_vm_without_a_record_goes_back_without_a_word_of_a_worktree(line: CommandLine) -> None:
    line("spawn")
    line("checkpoint", "save", "one")
    with line.store.edit() as ledger:
        ledger.vms.clear()
    ran = line("checkpoint", "restore", VM, "one", "--yes")
    assert ran.out == f"{VM} is as it was at one; `tachikoma spawn` starts it\n"


def test_one_is_let_go_of(spawned: CommandLine) -> None:
    spawned("checkpoint", "save", "one")
    assert spawned("checkpoint", "delete", "one").out == f"{VM}: checkpoint one deleted\n"
    assert spawned("checkpoint", "list", "--json").data["checkpoints"] == []
    assert state(spawned) == "running"


@pytest.mark.parametrize("verb", [("restore", "--yes"), ("delete",)])
def test_a_label_that_is_not_there_is_an_error_and_the_vm_runs_on(
    spawned: CommandLine, verb: tuple[str, ...]
) -> None:
    ran = spawned("checkpoint", *verb, "nope", "--json")
    assert (ran.status, ran.error["code"]) == (1, "hypervisor.checkpoint")
    assert ran.envelope["command"] == f"checkpoint {verb[0]}"
    assert state(spawned) == "running"


def test_a_label_that_is_taken_or_is_none_is_an_error(spawned: CommandLine) -> None:
    spawned("checkpoint", "save", "one")
    for label in ("one", "a b", "../x"):
        ran = spawned("checkpoint", "save", label, "--json")
        assert (ran.status, ran.error["code"]) == (1, "hypervisor.checkpoint")


@pytest.mark.parametrize("words", [(), ("main", "one", "two")])
@pytest.mark.parametrize("verb", ["save", "restore", "delete"])
def test_one_label_and_at_most_one_name_are_taken(
    spawned: CommandLine, verb: str, words: tuple[str, ...]
) -> None:
    ran = spawned("checkpoint", verb, *words, "--json")
    assert (ran.status, ran.error["code"]) == (2, "cli.usage")


def test_a_branch_without_a_vm_has_none(line: CommandLine) -> None:
    for words in (("list",), ("save", "one")):
        assert line("checkpoint", *words, "--json").error["code"] == "vm.not_found"
