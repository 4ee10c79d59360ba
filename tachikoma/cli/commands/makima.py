"""``tachikoma makima``: the daemon that runs a server's tasks, and the server."""

from __future__ import annotations

import click

from tachikoma.cli.verb import LazyVerbGroup

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


class Makima(LazyVerbGroup):
    """The commands."""

    package = "tachikoma.cli.makima"
    told = _COMMANDS


@click.group("makima", cls=Makima, epilog=_EXAMPLES, no_args_is_help=False)
def command() -> None:
    """Run a makima server, which takes tasks from people, or a daemon, which has them done by
    Claude Code: each in a git worktree and a VM of its own. `up` runs both here.

    docs/how-to/run-a-server.md and docs/how-to/run-a-makima-daemon.md tell how to set them up.
    """
