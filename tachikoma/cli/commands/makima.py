"""``tachikoma makima``: the daemon that runs a server's tasks, and the server."""

from __future__ import annotations

import importlib

import click

from tachikoma.cli.verb import VerbGroup

_COMMANDS = {
    "daemon": "Run the daemon until it is told to stop.",
    "config": "Show the daemon's settings, each with its source.",
    "doctor": "Check that the daemon can work here.",
    "tasks": "List the daemon's tasks.",
    "logs": "Show what the agent of a task said and did.",
    "up": "Run a server and a daemon here, and log in.",
    "down": "Stop what `up` runs; tasks stay.",
    "server": "Be the server that daemons connect to.",
    "keys": "Make, list and revoke the server's API keys.",
    "login": "Choose the server that you work with.",
    "relay": "Stand between a server and daemons that it cannot reach.",
}
_EXAMPLES = """\b
Examples:
  tachikoma makima up              everything on this machine; then `tachikoma task run`
  tachikoma makima doctor
  tachikoma makima daemon          the same as `makima-daemon`
  tachikoma makima tasks
  tachikoma makima logs 6ba7b810 -f
"""


class Makima(VerbGroup):
    """The commands, each loaded when it is wanted."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Give the commands in the order in which one meets them."""
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one command."""
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        command = importlib.import_module(f"tachikoma.cli.makima.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without loading them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group("makima", cls=Makima, epilog=_EXAMPLES, no_args_is_help=False)
def command() -> None:
    """Run a makima server, which takes tasks from people, or a daemon, which has them done by
    Claude Code: each in a git worktree and a VM of its own. `up` runs both here.

    docs/how-to/run-a-server.md and docs/how-to/run-a-makima-daemon.md tell how to set them up.
    """
