"""``tachikoma task pause|resume|interrupt|retry|archive TASK``."""

from __future__ import annotations

from collections.abc import Mapping

import click

from tachikoma.cli import words
from tachikoma.cli.door import Door
from tachikoma.cli.task.server import calling, found, server_option
from tachikoma.cli.task.words import LOOKS, last_words
from tachikoma.cli.verb import Verb
from tachikoma.makima.client.calls import Json, ServerCalls


def _examples(line: str) -> str:
    return f"\b\nExamples:\n  tachikoma task {line}\n"


@click.command("pause", cls=Verb, epilog=_examples("pause 6ba7b810"))
@click.argument("task")
@server_option
@click.pass_obj
def pause(door: Door, *, task: str, server: str | None) -> int:
    """Hold a task: one at work stops where it is, one that has not begun does not begin."""
    return _steer(door, server, task, "pause", told="it is about to be held")


@click.command("resume", cls=Verb, epilog=_examples("resume 6ba7b810"))
@click.argument("task")
@server_option
@click.pass_obj
def resume(door: Door, *, task: str, server: str | None) -> int:
    """Let a task that is held go on."""
    return _steer(door, server, task, "resume", told="it is about to go on")


@click.command("interrupt", cls=Verb, epilog=_examples("interrupt 6ba7b810 --now"))
@click.argument("task")
@click.option("--now", is_flag=True, help="Kill its agent, instead of asking it to stop first.")
@server_option
@click.pass_obj
def interrupt(door: Door, *, task: str, now: bool, server: str | None) -> int:
    """End a task early. What it has done so far stays on its branch and in its worktree."""
    body = {"graceful": not now}
    return _steer(door, server, task, "interrupt", body, told="it is about to end")


@click.command("retry", cls=Verb, epilog=_examples("retry 6ba7b810 --fresh"))
@click.argument("task")
@click.option("--fresh", is_flag=True, help="From the beginning, not from where it ended.")
@server_option
@click.pass_obj
def retry(door: Door, *, task: str, fresh: bool, server: str | None) -> int:
    """Try a task again that failed or was interrupted, going on from where it ended; what failed
    because of it is tried again, too.
    """
    return _steer(door, server, task, "retry", {"fresh": fresh})


@click.command("archive", cls=Verb, epilog=_examples("archive 6ba7b810"))
@click.argument("task")
@click.option("--undo", is_flag=True, help="Put it back.")
@server_option
@click.pass_obj
def archive(door: Door, *, task: str, undo: bool, server: str | None) -> int:
    """Put a task that has ended out of the way, with its subtasks."""
    told = "it is back" if undo else "archived"
    return _steer(door, server, task, "archive", {"archived": not undo}, told=told)


def _steer(
    door: Door,
    url: str | None,
    name: str,
    what: str,
    body: Mapping[str, object] | None = None,
    *,
    told: str = "",
) -> int:
    async def work(calls: ServerCalls) -> Json:
        id_ = (await found(calls, name))["id"]
        return await calls.post(f"/tasks/{id_}/{what}", body)

    task = calling(door, url, work)
    status = door.screen.style(task["status"], *LOOKS.get(task["status"], ()))
    said = told if what != "retry" else words.clean(last_words(task))
    door.screen.give({"task": task}, [f"{status}: {said}" if said else status])
    return 0
