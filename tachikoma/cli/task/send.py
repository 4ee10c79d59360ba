"""``tachikoma task send TASK TEXT``."""

from __future__ import annotations

import click

from tachikoma.cli.door import Door
from tachikoma.cli.task.server import calling, found, server_option
from tachikoma.cli.verb import Verb
from tachikoma.makima.client.calls import ServerCalls

_EXAMPLES = """\b
Examples:
  tachikoma task send 6ba7b810 "Leave the old API in place"
"""


@click.command("send", cls=Verb, epilog=_EXAMPLES)
@click.argument("task")
@click.argument("text")
@server_option
@click.pass_obj
def command(door: Door, *, task: str, text: str, server: str | None) -> int:
    """Say TEXT to the agent of a task; it hears it as soon as it can."""

    async def work(calls: ServerCalls) -> str:
        id_ = str((await found(calls, task))["id"])
        await calls.post(f"/tasks/{id_}/message", {"text": text})
        return id_

    id_ = calling(door, server, work)
    door.screen.give({"id": id_, "sent": True}, ["sent"])
    return 0
