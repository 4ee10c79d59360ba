"""``tachikoma task logs TASK [-f]``."""

from __future__ import annotations

import click

from tachikoma.cli.door import Door
from tachikoma.cli.task.following import Following, Joined, dropped, printed
from tachikoma.cli.task.run import told_end
from tachikoma.cli.task.server import calling, found, server_option
from tachikoma.cli.verb import Verb
from tachikoma.makima.client.calls import ServerCalls
from tachikoma.model.errors import UsageError

_EXAMPLES = """\b
Examples:
  tachikoma task logs 6ba7b810
  tachikoma task logs 6ba7b810 -f
  tachikoma task logs 6ba7 --raw | jq -r 'select(.type == "result").result'
"""


@click.command("logs", cls=Verb, epilog=_EXAMPLES)
@click.argument("task")
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until the task ends.")
@click.option("-n", "--lines", type=click.IntRange(0), help="Only the last lines that it printed.")
@click.option("--raw", is_flag=True, help="The lines as the agent printed them: JSON.")
@server_option
@click.pass_obj
def command(
    door: Door, *, task: str, follow: bool, lines: int | None, raw: bool, server: str | None
) -> int:
    """Show what the agent of a task said and did. TASK is the beginning of its id, its branch, or
    its name. With --follow the exit status is 1 if the task fails.
    """
    if follow and door.screen.as_json:
        raise UsageError("--follow has no end, and --json has one", hint="leave one of them out")

    async def work(calls: ServerCalls) -> int:
        entry = await found(calls, task)
        chunks, gone = await printed(calls, entry["id"], last=lines)
        if door.screen.as_json:
            joined = Joined()
            kept = [line for chunk in chunks for line in joined.add(chunk)] + [*joined.rest()]
            door.screen.give({"id": entry["id"], "lines": kept, "dropped_bytes": gone})
            return 0
        if gone:
            door.screen.note(dropped(gone))
        shown = Following(door, raw=raw)
        for chunk in chunks:
            shown.show(chunk)
        if not follow:
            shown.finish()
            if not chunks and lines != 0:
                door.screen.note("its agent has said nothing yet")
            return 0
        after = chunks[-1]["number"] if chunks else 0
        if lines == 0:
            page = await calls.get(f"/tasks/{entry['id']}/output", {"last": 1})
            after = page["next"]
        return told_end(door, await shown.to_the_end(calls, entry["id"], after=after))

    return calling(door, server, work)
