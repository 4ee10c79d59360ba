from __future__ import annotations

from pathlib import Path

from tests.unit.cli.stand import CommandLine


def test_it_tells_of_the_current_branchs_vm_and_of_the_host(line: CommandLine) -> None:
    line("spawn")
    assert line("status").out == (
        "tachikoma-box-main  running, ready\n"
        "  branch      main\n"
        "  repository  /src/box\n"
        "  worktree    /src/box\n"
        "  address     127.0.0.1:20022\n"
        "  engine      synthetic, image synthetic\n"
        "  size        4 CPUs, 8 GiB of memory, 1.0 MiB on disk\n"
        "  created     now\n"
        "  last used   now\n"
        "  mount       code  /src/box\n"
        "  log         tachikoma-box-main in memory\n"
        "\n"
        "this host\n"
        "  engine      synthetic\n"
        "  VMs         1 of 1 running, 8 GiB of memory, 1.0 MiB on disk\n"
        "  proxy       running, 127.0.0.1:19280\n"
    )


def test_a_stopped_vm_has_no_address_and_takes_no_memory(line: CommandLine) -> None:
    line("spawn")
    line("halt")
    told = line("status").out
    assert told.startswith("tachikoma-box-main  stopped\n")
    assert "address" not in told
    assert "0 of 1 running, 0 MiB of memory" in told


def test_a_branch_without_a_vm_is_no_error_unless_it_was_named(line: CommandLine) -> None:
    ran = line("status")
    assert ran.status == 0
    assert ran.out.startswith("there is no VM for the branch main; ")
    assert line("status", "--json").data["vm"] is None
    assert line("status", "nope").status == 1


def test_outside_of_a_repository_it_tells_of_the_host(line: CommandLine) -> None:
    line.cwd = Path("/elsewhere")
    ran = line("status")
    assert ran.status == 0
    assert "this host\n  engine      synthetic\n" in ran.out


def test_a_named_vm_comes_without_the_host(line: CommandLine) -> None:
    line("spawn", "feature/x")
    assert set(line("status", "feature/x", "--json").data) == {"vm"}
