"""``tachikoma task``: having tasks done by a makima server, and looking at them."""

from __future__ import annotations

import click

from tachikoma.cli.verb import LazyVerbGroup

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
_MODULES = dict.fromkeys(("pause", "resume", "interrupt", "retry", "archive"), "steering")
_EXAMPLES = """\b
Examples:
  tachikoma task run "Fix the flaky test in tests/test_login.py" --follow
  tachikoma task list
  tachikoma task logs 6ba7b810 -f
  tachikoma task merge 6ba7b810 --into main
"""


class Task(LazyVerbGroup):
    """The commands."""

    package = "tachikoma.cli.task"
    told = _COMMANDS
    elsewhere = _MODULES


@click.group("task", cls=Task, epilog=_EXAMPLES)
def command() -> None:
    """Have tasks done by the agents of a makima server.

    Which server, and the key for it, come from MAKIMA_API_URL and MAKIMA_API_KEY, else from
    `tachikoma makima login`; `tachikoma makima up` starts a server here and logs you in.
    """
