from __future__ import annotations

from pathlib import Path

from tests.unit.cli.stand import CommandLine


def test_no_vms_is_said_with_what_makes_one(line: CommandLine) -> None:
    ran = line("list")
    assert (ran.status, ran.out) == (0, "")
    assert ran.err == "no VMs yet; `tachikoma spawn` makes one\n"


def test_a_pipe_gets_all_columns(line: CommandLine) -> None:
    line("spawn", "feature/x")
    line("spawn")
    line("halt")
    line.clock._now += 7200
    assert line("list").out == (
        "NAME                     BRANCH     STATE    CPUS  MEMORY     DISK  LAST USED"
        "  WORKTREE\n"
        "tachikoma-box-feature-x  feature/x  running     4   8 GiB  1.0 MiB  2 h ago  "
        "  /src/box-feature-x\n"
        "tachikoma-box-main       main       stopped     4   8 GiB  1.0 MiB  2 h ago  "
        "  /src/box\n"
    )


def test_a_terminal_of_80_columns_gets_what_fits(line: CommandLine) -> None:
    line("spawn", "feature/a-rather-long-name-for-a-branch")
    lines = line("list", tty=True).out.splitlines()
    assert [len(each) <= 80 for each in lines] == [True, True]
    assert lines[0].split() == ["NAME", "BRANCH", "STATE", "LAST", "USED"]
    assert "…" in lines[1]


def test_a_vm_that_vanished_is_gone_and_one_without_a_branch_is_shown(line: CommandLine) -> None:
    line("spawn")
    line("spawn", "feature/x")
    with line.store.edit() as ledger:
        kept = next(iter(ledger.vms.values()))
        ledger.vms.clear()
        ledger.put(kept)
    rows = {row.split()[0]: row.split()[1:3] for row in line("list").out.splitlines()}
    assert rows["tachikoma-box-main"] == ["main", "running"]
    assert rows["tachikoma-box-feature-x"] == ["-", "running"]


def test_repo_lists_the_vms_of_this_repository_alone(line: CommandLine) -> None:
    line("spawn")
    line.cwd = Path("/src/other")
    line.git.add_repository(line.cwd)
    line("spawn")
    assert [vm["name"] for vm in line("list", "--repo", "--json").data["vms"]] == [
        "tachikoma-other-main"
    ]
    assert len(line("list", "--json").data["vms"]) == 2


def test_repo_outside_of_a_repository_is_an_error(line: CommandLine) -> None:
    line.cwd = Path("/elsewhere")
    assert line("list", "--repo", "--json").error["code"] == "git.no_repository"
    assert line("list").status == 0
