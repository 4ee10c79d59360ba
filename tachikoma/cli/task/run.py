"""``tachikoma task run PLAN``."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import click

from tachikoma.cli import words
from tachikoma.cli.door import Door
from tachikoma.cli.task.following import Following
from tachikoma.cli.task.server import calling, found, server_option
from tachikoma.cli.task.words import LOOKS, cost, tokens
from tachikoma.cli.verb import Verb
from tachikoma.makima.client.calls import Json, ServerCalls
from tachikoma.model.errors import GitError, NotARepositoryError, UsageError
from tachikoma.runtime import Runtime

_ACTIONS = ("none", "branch", "merge", "pr")
_EXAMPLES = """\b
Examples:
  tachikoma task run "Fix the flaky test in tests/test_login.py" --follow
  tachikoma task run "Add a changelog" --branch main       merged into main when it is done
  tachikoma task run - --action pr --branch main < plan.md
  tachikoma task run "Port it to Rust" --orchestrator      leads subtasks of its own
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line says of a task."""

    plan: str
    repo: str | None
    branch: str | None
    base: str | None
    action: str | None
    name: str | None
    orchestrator: bool
    priority: int
    attempts: int
    after: tuple[str, ...]


@click.command("run", cls=Verb, epilog=_EXAMPLES)
@click.argument("plan")
@click.option("--repo", metavar="REPO", help="Repository: a path here or a URL (this directory's).")
@click.option("--branch", metavar="NAME", help="What `merge` and `pr` merge into.")
@click.option("--base", metavar="NAME", help="What its branch starts from (the current branch).")
@click.option("--action", type=click.Choice(_ACTIONS), help="What becomes of its work.")
@click.option("--name", metavar="TEXT", help="Its name, and subject of commits (the first line).")
@click.option("--after", metavar="TASK", multiple=True, help="Begin when that one is done.")
@click.option("--priority", type=click.IntRange(-100, 100), default=0, help="Higher goes first.")
@click.option("--attempts", type=click.IntRange(1, 10), default=1, help="How often to try (1).")
@click.option("--orchestrator", is_flag=True, help="It may have subtasks and merge them.")
@click.option("-f", "--follow", is_flag=True, help="Show what its agent does, to the end.")
@server_option
@click.pass_obj
def command(
    door: Door,
    /,
    *,
    plan: str,
    follow: bool,
    server: str | None,
    after: tuple[str, ...],
    **options: object,
) -> int:
    """Have a task done: PLAN is what its agent is told (`-` reads it from standard input).

    The work is done on a branch of its own. With --action branch that one comes into the
    repository, `merge` merges it, `pr` opens a pull request; what is not said is `merge` if there
    is a --branch, else `branch` for a repository on this machine, else `none`.

    With --follow the exit status is 1 if the task fails. Ctrl-C stops following; the task goes on.
    """
    wanted = Wanted(plan=_plan(door, plan), after=after, **options)  # type: ignore[arg-type]  # click checks

    async def work(calls: ServerCalls) -> int:
        request = await _request(door.runtime, calls, wanted)
        task = await calls.post("/tasks", request)
        if not follow:
            door.screen.give({"task": task}, _begun(task))
            return 0
        door.screen.note(f"task {task['id']}; Ctrl-C stops following, and it goes on")
        if door.screen.as_json:
            task = await ended(calls, task["id"])
        else:
            task = await Following(door).to_the_end(calls, task["id"])
        return told_end(door, task)

    return calling(door, server, work)


async def ended(calls: ServerCalls, task: str) -> Json:
    """Wait until a task has ended, without showing anything."""
    async for _ in calls.stream(f"/tasks/{task}/output/stream", after=2**52):
        pass
    return await calls.get(f"/tasks/{task}")


def told_end(door: Door, task: Json) -> int:
    """Tell how a task ended, and give the exit status for it."""
    status, outcome = task["status"], task["actionOutcome"]
    why = words.clean(f": {task['error']}") if task["error"] else ""
    lines = [f"{door.screen.style(status, *LOOKS.get(status, ()))}{why}"]
    if outcome is not None:
        lines.append(f"  {words.clean(outcome['message'])}")
        lines += [f"  {words.clean(outcome['prUrl'])}"] if outcome["prUrl"] else []
    branch = words.clean(task["branch"] or "-")
    lines.append(f"  branch {branch}, {tokens(task)} tokens, {cost(task)}")
    door.screen.give({"task": task}, lines)
    failed_to_deliver = outcome is not None and not outcome["success"]
    return 0 if status == "done" and not failed_to_deliver else 1


def _begun(task: Json) -> list[str]:
    short = str(task["id"])[:8]
    return [
        f"task {task['id']}: {task['status']}",
        *([f"  waits for {task['waitsFor']}"] if task["waitsFor"] else []),
        f"  follow it with `tachikoma task logs {short} -f`",
    ]


def _plan(door: Door, text: str) -> str:
    plan = sys.stdin.read() if text == "-" and door.terminal.stdin is not None else text
    if not plan.strip() or plan == "-":
        raise UsageError("the plan is empty", hint='`tachikoma task run "What is to be done"`')
    return plan


async def _request(runtime: Runtime, calls: ServerCalls, wanted: Wanted) -> Json:
    """Say it as the API takes it; what is not given is found out here."""
    repo, base, local = await _repository(runtime, calls, wanted)
    default = "merge" if wanted.branch else "branch" if local else "none"
    request: Json = {
        "id": str(uuid4()),
        "plan": wanted.plan,
        "name": wanted.name,
        "repo": repo,
        "baseBranch": wanted.base or base,
        "targetBranch": wanted.branch,
        "targetRepo": repo if local else None,
        "action": wanted.action or default,
        "orchestrator": wanted.orchestrator,
        "priority": wanted.priority,
        "maxAttempts": wanted.attempts,
        "dependencies": [(await found(calls, name))["id"] for name in wanted.after],
    }
    return {name: value for name, value in request.items() if value is not None}


async def _repository(
    runtime: Runtime, calls: ServerCalls, wanted: Wanted
) -> tuple[str, str | None, bool]:
    """Give the repository, its branch that is checked out, and whether it is a path on the machine
    of the server and of its daemons.

    Raises:
        UsageError: there is none, or none that another machine could reach.
    """
    if wanted.repo is not None and not Path(wanted.repo).expanduser().is_dir():
        return wanted.repo, None, False
    place = runtime.cwd if wanted.repo is None else runtime.cwd / Path(wanted.repo).expanduser()
    try:
        repository = await runtime.git.repository(place)
    except NotARepositoryError as error:
        raise UsageError(
            f"{place} is not in a git repository",
            hint="go into one, or name it: --repo PATH or --repo URL",
        ) from error
    if not calls.account.is_here:
        remote = await runtime.git.remote(repository)
        if remote is None:
            raise UsageError(
                f"{repository.root} has no remote that the server {calls.account.url} could reach",
                hint="push it somewhere, or name it: --repo URL",
            )
        return remote.url, None, False
    try:
        branch = await runtime.git.current_branch(place)
    except GitError:  # a detached head, or no commit yet: then the repository's own HEAD decides
        branch = None
    return str(repository.root), branch, True
