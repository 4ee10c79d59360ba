"""From the door through the heart to the engine and back: a branch's whole life with its VM."""

from __future__ import annotations

from pathlib import Path

import pytest

from tachikoma.model.errors import DiskFullError
from tests.unit.cli.stand import CommandLine


@pytest.fixture
def line(own_home: Path) -> CommandLine:
    return CommandLine(own_home)


def _changes(line: CommandLine) -> list[str]:
    """Give what the engine was told to change since the last look."""
    kept = ("clone", "configure", "start", "stop", "delete")
    changes = [call for call in line.engine.calls if call.split()[0] in kept]
    line.engine.calls.clear()
    return changes


def test_a_branch_gets_its_vm_keeps_it_and_loses_it(line: CommandLine) -> None:
    vm = "tachikoma-box-feature-x"
    assert line("feature/x", "--json").data["how"] == "created"
    assert [call.split()[0] for call in _changes(line)] == ["clone", "configure", "start"]

    assert line("feature/x", "--json").data["how"] == "reconnected"
    assert _changes(line) == []

    assert line("exec", "feature/x", "--", "true").status == 0
    assert line.shell.ran == [(("true",), "/src/box-feature-x", None)]

    assert line("halt", "feature/x", "--json").data["was_running"] is True
    assert line("exec", "feature/x", "--", "true").status == 1

    assert line("feature/x", "--json").data["how"] == "started"
    assert [call.split()[0] for call in _changes(line)] == ["stop", "configure", "start"]

    assert line("destroy", "feature/x", "--yes", "--json").data["name"] == vm
    assert line("list", "--json").data == {"vms": []}
    assert line.store.read().vms == {}
    assert line("cd", "feature/x").out == "/src/box-feature-x\n"


def test_two_branches_are_two_vms(line: CommandLine) -> None:
    first, second = line("a/b", "--json").data, line("a-b", "--json").data
    assert first["name"] == "tachikoma-box-a-b"
    assert second["name"].startswith("tachikoma-box-a-b-")
    assert first["address"] != second["address"]
    assert len(line("list", "--json").data["vms"]) == 2


def test_a_failed_spawn_leaves_nothing_and_the_next_one_works(line: CommandLine) -> None:
    line.engine.fail_next("clone", DiskFullError("no space is left", hint="free some"))
    failed = line("feature/x", "--json")
    assert (failed.status, failed.error["code"]) == (1, "host.disk_full")
    assert line("list", "--json").data == {"vms": []}
    assert line("feature/x", "--json").data["how"] == "created"


@pytest.mark.parametrize(
    ("branch", "code"),
    [("x..y", "git.bad_branch_name"), ("-f", "cli.usage")],
)
def test_a_name_that_is_no_branch_changes_nothing(
    line: CommandLine, branch: str, code: str
) -> None:
    assert line("spawn", branch, "--json").error["code"] == code
    assert _changes(line) == []


@pytest.mark.parametrize(
    ("branch", "commit", "code"),
    [(None, None, "git.detached_head"), ("main", "", "git.empty_repository")],
)
def test_a_repository_without_a_current_branch_is_told(
    line: CommandLine, branch: str | None, commit: str | None, code: str
) -> None:
    line.cwd = Path("/src/odd")
    line.git.add_repository(line.cwd, branch=branch, commit=commit)
    ran = line("spawn", "--json")
    assert (ran.status, ran.error["code"]) == (1, code)
    assert ran.error["hint"]


def test_outside_of_a_repository_nothing_is_spawned(line: CommandLine) -> None:
    line.cwd = Path("/elsewhere")
    ran = line("spawn", "--json")
    assert (ran.status, ran.error["code"]) == (1, "git.no_repository")
    assert _changes(line) == []
