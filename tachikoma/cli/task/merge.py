"""``tachikoma task merge TASK``."""

from __future__ import annotations

from pathlib import Path

import click

from tachikoma.cli import words
from tachikoma.cli.door import Door
from tachikoma.cli.task.server import calling, found, server_option
from tachikoma.cli.verb import Verb
from tachikoma.makima.client.calls import Json, ServerCalls

_EXAMPLES = """\b
Examples:
  tachikoma task merge 6ba7b810
  tachikoma task merge 6ba7b810 --into develop --repo ~/src/app
  tachikoma task merge 6ba7b810 --action pr --into main
"""


@click.command("merge", cls=Verb, epilog=_EXAMPLES)
@click.argument("task")
@click.option("--into", metavar="NAME", help="The branch to merge into (as the task has it).")
@click.option("--repo", metavar="PATH", help="The repository to merge in (as the task has it).")
@click.option(
    "--action",
    type=click.Choice(["branch", "merge", "pr"]),
    default="merge",
    help="Or only bring the branch there, or open a pull request.",
)
@server_option
@click.pass_obj
def command(
    door: Door, *, task: str, into: str | None, repo: str | None, action: str, server: str | None
) -> int:
    """Merge the branch of a task that has ended, on the machine where it is.

    If there are conflicts the repository stays as it was; the exit status is 1 then.
    """
    request: Json = {"action": action}
    if into:
        request["targetBranch"] = into
    if repo:
        request["targetRepo"] = str(door.runtime.cwd / Path(repo).expanduser())

    async def work(calls: ServerCalls) -> tuple[str, Json]:
        id_ = (await found(calls, task))["id"]
        return id_, await calls.post(f"/tasks/{id_}/action", request)

    id_, outcome = calling(door, server, work)
    mark = door.screen.style("✓", "green") if outcome["success"] else door.screen.style("✗", "red")
    lines = [*door.screen.wrapped(outcome["message"], indent=2)]
    if outcome["prUrl"]:
        lines.append(words.clean(outcome["prUrl"]))
    first, *rest = lines
    door.screen.give(
        {"id": id_, "outcome": outcome}, [f"{mark} {first}", *(f"  {x}" for x in rest)]
    )
    return 0 if outcome["success"] else 1
