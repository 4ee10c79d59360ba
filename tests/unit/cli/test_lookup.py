from __future__ import annotations

from pathlib import Path

import pytest

from tachikoma.cli.door import Door
from tachikoma.cli.lookup import record_of, repository_here
from tachikoma.model.errors import GitError, VmNotFoundError
from tachikoma.state.port import VmRecord
from tests.unit.cli.stand import CommandLine


def record(door: Door, name: str | None) -> VmRecord | None:
    return door.run(lambda _: record_of(door, name))


def test_the_repository_is_that_of_the_directory_or_none(line: CommandLine, door: Door) -> None:
    assert door.run(lambda _: repository_here(door)) == line.repository
    door.runtime.cwd = Path("/elsewhere")
    assert door.run(lambda _: repository_here(door)) is None


def test_without_a_name_the_current_branch_is_meant(line: CommandLine, door: Door) -> None:
    assert record(door, None) is None
    line("spawn")
    found = record(door, None)
    assert found is not None
    assert found.name == "tachikoma-box-main"


def test_without_a_name_there_must_be_a_branch(door: Door) -> None:
    door.runtime.cwd = Path("/elsewhere")
    with pytest.raises(GitError):
        record(door, None)


@pytest.mark.parametrize("name", ["feature/x", "tachikoma-box-feature-x"])
@pytest.mark.parametrize("cwd", ["/src/box", "/elsewhere"])
def test_a_name_is_that_of_a_vm_or_a_branch_from_anywhere(
    line: CommandLine, door: Door, name: str, cwd: str
) -> None:
    line("spawn", "feature/x")
    door.runtime.cwd = Path(cwd)
    found = record(door, name)
    assert found is not None
    assert found.branch == "feature/x"


def test_a_branch_of_two_repositories_is_that_of_this_one(line: CommandLine, door: Door) -> None:
    line("spawn")
    line.cwd = Path("/src/other")
    line.git.add_repository(line.cwd)
    line("spawn")
    found = record(door, "main")
    assert found is not None
    assert found.worktree == Path("/src/box")
    door.runtime.cwd = Path("/elsewhere")
    with pytest.raises(VmNotFoundError, match="several repositories"):
        record(door, "main")


def test_the_engine_is_not_asked(line: CommandLine, door: Door) -> None:
    line("spawn")
    line.engine.fail_next("find", VmNotFoundError("asked", hint="-"))
    line.engine.fail_next("vms", VmNotFoundError("asked", hint="-"))
    assert record(door, "main") is not None
    assert record(door, "nothing") is None
