from __future__ import annotations

import click

from tachikoma.cli.verb import COMMON, Verb, VerbGroup


@click.command("plain", cls=Verb)
def plain() -> None:
    """Do one thing."""


@click.command("choosy", cls=Verb)
@click.option("--force", is_flag=True, help="Do it all the same.")
@click.option("--secret", is_flag=True, hidden=True)
def choosy(*, force: bool, secret: bool) -> None:
    """Do one thing or another."""


@click.group("many", cls=VerbGroup)
def many() -> None:
    """Do several things."""


many.add_command(plain)


def help_of(command: click.Command) -> list[str]:
    context = click.Context(command, info_name=command.name, terminal_width=100)
    return command.get_help(context).splitlines()


def section(lines: list[str], title: str) -> list[str]:
    """Give the first word of each row under ``title``."""
    begin = lines.index(title) + 1
    rows = lines[begin : lines.index("", begin)] if "" in lines[begin:] else lines[begin:]
    return [row.split()[0].rstrip(",") for row in rows]


def test_a_command_without_options_tells_only_those_of_every_command() -> None:
    told = help_of(plain)
    assert "Options:" not in told
    assert section(told, "Options of every command:") == [
        name.split()[0].rstrip(",") for name, _ in COMMON
    ]


def test_its_own_options_come_first_without_help_and_hidden_ones() -> None:
    told = help_of(choosy)
    assert section(told, "Options:") == ["--force"]
    assert told.index("Options:") < told.index("Options of every command:")
    assert "secret" not in "".join(told)


def test_a_group_tells_its_commands_before_the_options() -> None:
    told = help_of(many)
    assert section(told, "Commands:") == ["plain"]
    assert told.index("Commands:") < told.index("Options of every command:")
