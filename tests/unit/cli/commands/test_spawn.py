from __future__ import annotations

from tachikoma.model.errors import HypervisorError
from tests.unit.cli.stand import CommandLine


def test_without_a_terminal_it_prints_where_the_vm_and_its_worktree_are(line: CommandLine) -> None:
    ran = line("spawn", "feature/x")
    assert ran.status == 0
    assert ran.became is None
    assert ran.out == (
        "tachikoma-box-feature-x  created in 0.0 s\n"
        "  branch    feature/x\n"
        "  worktree  /src/box-feature-x\n"
        "  enter     tachikoma enter tachikoma-box-feature-x\n"
    )


def test_on_a_terminal_its_last_act_is_to_become_the_session(line: CommandLine) -> None:
    ran = line("spawn", tty=True)
    assert ran.became == ("ssh", "-t", "admin@tachikoma-box-main", "/src/box")
    assert ran.out == ""
    assert ran.err.endswith("tachikoma-box-main created in 0.0 s; `exit` leaves it running\n")


def test_no_interactive_stays_out_of_the_vm(line: CommandLine) -> None:
    assert line("spawn", "--no-interactive", tty=True).became is None
    assert line("--no-interactive", "feature/x", tty=True).became is None


def test_json_stays_out_of_the_vm_even_on_a_terminal(line: CommandLine) -> None:
    ran = line("spawn", "--json", tty=True)
    assert ran.became is None
    assert ran.data["how"] == "created"


def test_the_second_spawn_finds_the_vm_ready(line: CommandLine) -> None:
    line("spawn")
    ran = line("spawn")
    assert ran.out.startswith("tachikoma-box-main  was ready\n")
    assert ran.err == ""


def test_a_new_branch_is_said_to_be_new(line: CommandLine) -> None:
    assert "the branch feature/x is new" in line("feature/x").err


def test_a_refused_setting_of_the_repository_is_said(line: CommandLine) -> None:
    line.cwd = line.home / "repo"
    line.cwd.mkdir()
    line.git.add_repository(line.cwd)
    (line.cwd / ".tachikoma.toml").write_text('api_key_command = "cat key"\n')
    assert "api_key_command is not applied" in line("spawn").err


def test_a_failure_ends_with_status_1_and_no_session(line: CommandLine) -> None:
    line.engine.fail_next("start", HypervisorError("it does not start", hint="mend it"))
    ran = line("spawn", tty=True)
    assert (ran.status, ran.became, ran.out) == (1, None, "")
    assert ran.err.endswith("error: it does not start\nhint: mend it\n")
