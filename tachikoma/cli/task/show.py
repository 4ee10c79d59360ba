"""``tachikoma task show TASK``."""

from __future__ import annotations

import click

from tachikoma.cli import words
from tachikoma.cli.door import Door
from tachikoma.cli.task.server import calling, found, server_option
from tachikoma.cli.task.words import LOOKS, lines
from tachikoma.cli.verb import Verb
from tachikoma.makima.client.calls import Json, ServerCalls

_EXAMPLES = """\b
Examples:
  tachikoma task show 6ba7b810
  tachikoma task show 6ba7b810 --json | jq .data.task.figures
"""
_WIDE = 13


@click.command("show", cls=Verb, epilog=_EXAMPLES)
@click.argument("task")
@click.option("--history", is_flag=True, help="Also what happened to it.")
@server_option
@click.pass_obj
def command(door: Door, *, task: str, history: bool, server: str | None) -> int:
    """Show a task with everything. TASK is the beginning of its id, its branch, or its name."""

    async def work(calls: ServerCalls) -> tuple[Json, list[Json]]:
        id_ = (await found(calls, task))["id"]
        events: list[Json] = []
        if history:
            events = (await calls.get(f"/tasks/{id_}/events", {"limit": 500}))["items"]
        return await calls.get(f"/tasks/{id_}"), events

    whole, events = calling(door, server, work)
    screen = door.screen
    told = [screen.style(words.clean(str(whole["name"])), "bold")]
    for name, value in lines(whole, door.runtime.clock.now()):
        looks = LOOKS.get(value, ()) if name == "status" else ()
        first, *rest = screen.wrapped(value, indent=_WIDE + 2)
        told.append(f"  {screen.style(words.pad(name, _WIDE), 'dim')}{screen.style(first, *looks)}")
        told += [f"{' ' * (_WIDE + 2)}{line}" for line in rest]
    for event in events:
        told += [f"  {event['at'][11:19]}  {words.pad(event['what'], 9)}  {_line(event['text'])}"]
    screen.give({"task": whole, "events": events}, told)
    return 0


def _line(text: str) -> str:
    return words.clean(" ".join(text.split()))
