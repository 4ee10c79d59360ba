from __future__ import annotations

import re

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


def test_timings_show_where_the_time_went(line: CommandLine) -> None:
    told = line("spawn", "--timings").out
    first, _, laps = told.partition("\n\n")
    assert first.startswith("tachikoma-box-main  created in 0.0 s\n")
    head, *rows = laps.splitlines()
    assert head.split() == ["STEP", "SECONDS", "AT"]
    assert rows[0].startswith("the program is loaded")
    assert rows[-1].startswith("recorded")
    assert all(re.search(r"  +[0-9]+[.][0-9]{3}  +[0-9]+[.][0-9]{3}$", row) for row in rows)


def test_timings_are_shown_before_the_session_begins(line: CommandLine) -> None:
    ran = line("spawn", "--timings", tty=True)
    assert ran.became is not None
    assert ran.err.index("the program is loaded") < ran.err.index("`exit` leaves it running")


def test_timings_are_data_as_well_and_only_for_who_asks(line: CommandLine) -> None:
    laps = line("spawn", "--timings", "--json").data["timings"]
    assert [lap["what"] for lap in laps][:2] == ["the program is loaded", "settings are read"]
    assert all(set(lap) == {"what", "at_s", "took_s"} for lap in laps)
    assert [lap["at_s"] for lap in laps] == sorted(lap["at_s"] for lap in laps)
    assert "timings" not in line("spawn", "--json").data
