"""``tachikoma task``: having tasks done by a makima server, and looking at them."""

from __future__ import annotations

import importlib

import click

from tachikoma.cli.verb import VerbGroup

_COMMANDS = {
    "run": "Have a task done.",
    "list": "List the tasks.",
    "show": "Show a task with everything.",
    "logs": "Show what the agent of a task said and did.",
    "send": "Say something to the agent of a task.",
    "pause": "Hold a task.",
    "resume": "Let a task that is held go on.",
    "interrupt": "End a task early.",
    "retry": "Try a task again.",
    "merge": "Merge the branch of a task that is done.",
    "archive": "Put a task that has ended out of the way.",
}
_MODULES = {
    **dict.fromkeys(("pause", "resume", "interrupt", "retry", "archive"), "steering"),
}
_EXAMPLES = """\b
Examples:
  tachikoma task run "Fix the flaky test in tests/test_login.py" --follow
  tachikoma task list
  tachikoma task logs 6ba7b810 -f
  tachikoma task merge 6ba7b810 --into main
"""


class Task(VerbGroup):
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
        module = importlib.import_module(f"tachikoma.cli.task.{_MODULES.get(cmd_name, cmd_name)}")
        command = getattr(module, cmd_name) if cmd_name in _MODULES else module.command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without loading them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group("task", cls=Task, epilog=_EXAMPLES)
def command() -> None:
    """Have tasks done by the agents of a makima server.

    Which server, and the key for it, come from MAKIMA_API_URL and MAKIMA_API_KEY, else from
    `tachikoma makima login`; `tachikoma makima up` starts a server here and logs you in.
    """
