"""Commands whose help also tells the options that every command takes."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import click

if TYPE_CHECKING:  # only a shell that completes loads it
    from click.shell_completion import CompletionItem

COMPLETING = "_TACHIKOMA_COMPLETE"
"""Set by the shell when it asks click how a word may go on."""
COMMON = (
    ("--json", "One JSON envelope on standard output, also for errors."),
    ("-v, --verbose", "Say more; show the traceback of a bug."),
    ("--hypervisor NAME", "qemu, tart, synthetic or auto, instead of the setting."),
    ("-h, --help", "Show this message and exit."),
)


class Verb(click.Command):
    """A command with the common options in its help."""

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Offer the common options with its own."""
        return [*super().shell_complete(ctx, incomplete), *common_options(incomplete)]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write its own options, then the common ones."""
        _write_options(self, ctx, formatter)


class VerbGroup(click.Group):
    """A group of commands with the common options in its help."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands, then the common options."""
        self.format_commands(ctx, formatter)
        _write_options(self, ctx, formatter)


class LazyVerbGroup(VerbGroup):
    """A group whose commands are each loaded when they are wanted."""

    package: ClassVar[str]
    """Where each command's module is, which has its name, and the command as ``command``."""
    told: ClassVar[Mapping[str, str]]
    """What each command does, in the order in which one meets them."""
    elsewhere: ClassVar[Mapping[str, str]] = {}
    """The modules of those that share one; there a command has its own name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Give the commands in the order in which one meets them."""
        del ctx
        return list(self.told)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one command."""
        del ctx
        if cmd_name not in self.told:
            return None
        shared = self.elsewhere.get(cmd_name)
        module = importlib.import_module(f"{self.package}.{shared or cmd_name}")
        command = getattr(module, cmd_name if shared else "command")
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without loading them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(self.told.items()))


def common_options(begun: str) -> list[CompletionItem]:
    """Offer the options of every command to who has begun one."""
    from click.shell_completion import CompletionItem

    names = [(name.split()[0], told) for both, told in COMMON for name in both.split(", ")]
    return [
        CompletionItem(name, help=told)
        for name, told in names
        if begun.startswith("-") and name.startswith(begun) and name not in ("-h", "--help")
    ]


def _write_options(
    command: click.Command, ctx: click.Context, formatter: click.HelpFormatter
) -> None:
    options = [one for one in command.get_params(ctx) if isinstance(one, click.Option)]
    own = [
        record
        for one in options
        if "--help" not in one.opts and (record := one.get_help_record(ctx)) is not None
    ]
    if own:
        with formatter.section("Options"):
            formatter.write_dl(own)
    with formatter.section("Options of every command"):
        formatter.write_dl(COMMON)
