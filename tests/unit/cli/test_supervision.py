from __future__ import annotations

import sys
from dataclasses import replace

import click

from tachikoma.cli import supervision
from tachikoma.cli.door import Door
from tachikoma.cli.supervision import Echo
from tests.unit.cli.stand import CommandLine, Output


def test_a_worker_is_called_as_this_program_is(line: CommandLine, door: Door) -> None:
    argv = (sys.executable, "-P", "-m", "tachikoma")
    assert supervision.program(door.runtime) == argv
    synthetic = line.runtime(door.terminal, "synthetic")
    assert supervision.program(synthetic) == (*argv, "--hypervisor", "synthetic")


def test_where_things_are_kept(line: CommandLine, door: Door) -> None:
    config = line.home / ".config/tachikoma"
    assert supervision.log_file(door.runtime) == config / "logs/daemon.log"
    with supervision.record_file(door.runtime).held():
        assert (config / "daemon.lock").exists()
    with supervision.book(line.runtime(door.terminal, "synthetic")).edit():
        pass
    assert (config / "synthetic/sessions.json").exists()
    assert not (config / "sessions.json").exists()


def test_what_is_said_goes_to_the_output_that_it_was_said_on(line: CommandLine) -> None:
    with Output() as out, Output() as err:
        echo = Echo(line.door(out, err), quiet=False)
        echo.say("stdout", "[proxy] one\x1b[2J")
        echo.say("stderr", "[proxy] two")
        assert (out.text(), err.text()) == ("[proxy] one\\x1b[2J\n", "[proxy] two\n")


def test_a_quiet_supervisor_and_one_that_serves_a_machine_say_nothing(line: CommandLine) -> None:
    with Output() as out, Output() as err:
        Echo(line.door(out, err), quiet=True).say("stdout", "one")
        Echo(line.door(out, err, as_json=True), quiet=False).say("stderr", "two")
        assert (out.text(), err.text()) == ("", "")


class Closed(Output):
    """An output that nobody reads any more."""

    def write(self, _text: str) -> int:
        raise BrokenPipeError

    def flush(self) -> None:
        raise BrokenPipeError


def test_an_output_that_nobody_reads_does_not_stop_a_supervisor(line: CommandLine) -> None:
    with Output() as out, Output() as err, Closed() as closed:
        door = line.door(out, err)
        broken = replace(door.terminal, out=closed)  # type: ignore[arg-type]  # what is used of it
        echo = Echo(replace(door, terminal=broken), quiet=False)
        echo.say("stdout", "one")
        echo.say("stderr", "two")
        assert err.text() == ""


def test_names_of_sessions_are_completed(line: CommandLine, door: Door) -> None:
    line("daemon", "bg", "main", "--name", "night")
    line("daemon", "bg", "feature/x")
    context = click.Context(click.Command("attach"), obj=door)
    parameter = click.Argument(["session"])
    found = supervision.session_names(context, parameter, "ni")
    assert [(each.value, each.help) for each in found] == [("night", "main")]
    assert len(supervision.session_names(context, parameter, "")) == 2
    (line.home / ".config/tachikoma/sessions.json").write_text("broken")
    assert supervision.session_names(context, parameter, "") == []
    assert supervision.session_names(click.Context(click.Command("x")), parameter, "") == []
