from __future__ import annotations

from tests.unit.cli.stand import CommandLine


def test_what_is_not_up_is_not_stopped(line: CommandLine) -> None:
    ran = line("makima", "down")
    assert (ran.status, ran.out) == (0, "makima was not up\n")
    assert line("makima", "down", "--json").data == {"was_running": False}
