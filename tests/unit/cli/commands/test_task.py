from __future__ import annotations

import click

from tachikoma.cli.app import tree
from tests.unit.cli.stand import CommandLine


def test_every_command_is_called_by_its_name() -> None:
    context = click.Context(tree)
    group = tree.get_command(context, "task")
    assert isinstance(group, click.Group)
    names = group.list_commands(context)
    assert names[:3] == ["run", "list", "show"]
    for name in names:
        command = group.get_command(context, name)
        assert command is not None
        assert command.name == name
    assert group.get_command(context, "nonsense") is None


def test_an_envelope_names_the_whole_command(line: CommandLine) -> None:
    assert line("task", "list", "--json").envelope["command"] == "task list"
