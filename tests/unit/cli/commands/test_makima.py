from __future__ import annotations

import click
import pytest

from tachikoma.cli.app import tree
from tests.unit.cli.stand import CommandLine


def test_its_help_lists_every_command(
    line: CommandLine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert line("makima", "--help").status == 0
    told = capsys.readouterr().out
    assert [each in told for each in ("daemon", "config", "doctor", "tasks", "logs")] == [True] * 5


def test_every_command_is_called_by_its_name() -> None:
    context = click.Context(tree)
    group = tree.get_command(context, "makima")
    assert isinstance(group, click.Group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        assert command.name == name
    assert group.get_command(context, "nonsense") is None


def test_an_envelope_names_the_whole_command(line: CommandLine) -> None:
    assert line("makima", "tasks", "--json").envelope["command"] == "makima tasks"


def test_without_a_command_it_says_that_one_is_missing(line: CommandLine) -> None:
    ran = line("makima")
    assert ran.status == 2
    assert ran.err == "error: Missing command\nhint: `tachikoma makima --help` tells more\n"
