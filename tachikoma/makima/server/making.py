"""How a request becomes a task (pure)."""

from __future__ import annotations

from uuid import UUID

from tachikoma.makima.commands import name_from
from tachikoma.makima.server.bodies import CreateTask
from tachikoma.makima.server.calls import conflict, forbidden
from tachikoma.makima.server.course import Standing
from tachikoma.makima.server.entries import Entry
from tachikoma.makima.server.shapes import Action

DEEPEST = 2
MOST_SUBTASKS = 200
_NOT_FOR_TOOLS = ("repo", "target_repo", "target_branch", "action", "continue_from")


def check_of_tool(given: CreateTask, task: UUID) -> None:
    """Refuse what an orchestrator may not choose: where work is delivered to, and whose it is.

    Raises:
        RequestError: it chooses one of those.
    """
    chosen = [name for name in _NOT_FOR_TOOLS if name in given.model_fields_set]
    if chosen:
        raise forbidden(
            f"an orchestrator cannot choose {', '.join(chosen)}",
            "leave it out: subtasks work on the same repository, and you merge their branches",
        )
    if given.parent not in {None, task}:
        raise forbidden("an orchestrator has subtasks of its own only", "leave `parent` out")


def made(given: CreateTask, *, id_: UUID, parent: Entry | None, now: float) -> Entry:
    """Give the task that is asked for.

    Raises:
        RequestError: it cannot be a subtask of ``parent``.
    """
    if parent is not None:
        _check_parent(parent)
    return Entry(
        id=id_,
        standing=Standing(max_attempts=given.max_attempts),
        name=given.name or name_from(given.plan),
        parent=parent.id if parent is not None else None,
        depth=parent.depth + 1 if parent is not None else 0,
        orchestrator=given.orchestrator,
        priority=given.priority,
        repo=parent.repo if parent is not None else given.repo,
        base_branch=given.base_branch or (parent.base_branch if parent is not None else None),
        target_branch=given.target_branch,
        target_repo=given.target_repo,
        action=Action.NONE if parent is not None else given.action,
        continue_from=given.continue_from,
        created=now,
    )


def _check_parent(parent: Entry) -> None:
    if not parent.orchestrator:
        raise conflict(
            "not_an_orchestrator",
            f"the task “{parent.name}” leads no subtasks",
            "make it with `orchestrator`: true",
        )
    if parent.status.ended:
        raise conflict("wrong_state", f"the task “{parent.name}” is {parent.status} already")
    if parent.depth >= DEEPEST:
        raise conflict("too_deep", f"subtasks are at most {DEEPEST} levels deep")
