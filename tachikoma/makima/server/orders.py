"""What a daemon is told of a task that it gets (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from tachikoma.makima.commands import SpawnTask
from tachikoma.makima.server.entries import AttemptEntry, Entry, Texts, action_of

GUIDE = """\
---
You lead other agents: split the work above into subtasks where that helps, have them done, and \
merge their branches into yours. The server answers JSON at $MAKIMA_API_URL; send the header \
"Authorization: Bearer $MAKIMA_API_KEY" (and "Content-Type: application/json" with a body). \
Your own task is $MAKIMA_TASK_ID. With T=$MAKIMA_API_URL/api/v1/tasks:

- POST $T {"plan": "...", "name": "..."} starts a subtask in a worktree of its own; its id is in \
the answer. Optional: "baseBranch", "dependencies": [ids that have to be done before], "priority", \
"copyFiles": [paths of your worktree], "orchestrator": true. Subtasks run beside each other.
- GET $T/ID?waitS=300 answers once the subtask has ended (or after 300 s: ask again). Its "status" \
is done, failed or interrupted at the end; "result" is what its agent said last.
- GET $T?parent=$MAKIMA_TASK_ID lists your subtasks; GET $T/ID/output gives what one printed.
- GET $T/$MAKIMA_TASK_ID/branches lists the branches of your subtasks, merged or not.
- POST $T/$MAKIMA_TASK_ID/merge/start {"branch": "..."} begins a merge in your worktree. Then \
.../merge/commit {"message": "..."}, or for each file in conflict .../merge/resolve \
{"file": "...", "strategy": "ours" or "theirs"} before it (or edit it and `git add` it), or \
.../merge/abort {}. GET .../merge tells how it stands.
- POST $T/$MAKIMA_TASK_ID/merge/skip {"subtask": "ID", "reason": "..."} leaves a branch out.
- GET $T/$MAKIMA_TASK_ID/merge/check tells whether every branch is merged or skipped: see to that \
before you end.
"""


def spawn_order(
    entry: Entry,
    texts: Texts,
    *,
    attempts: Sequence[AttemptEntry],
    parent: Entry | None,
    source: Entry | None,
) -> SpawnTask:
    """Say how the latest attempt at a task begins. ``parent`` is its orchestrator, ``source`` the
    task whose state it is to go on from.
    """
    assert entry.current is not None
    before = _before(entry, attempts)
    return SpawnTask(
        task_id=entry.current,
        task_name=entry.name,
        plan=plan_of(entry, texts.plan, before),
        repo_url=entry.repo,
        base_branch=entry.base_branch,
        target_branch=entry.target_branch,
        parent_task_id=parent.current if parent is not None else None,
        depth=entry.depth,
        is_orchestrator=entry.orchestrator,
        target_repo_path=entry.target_repo,
        completion_action=action_of(entry),
        continue_from_task_id=before.id if before is not None else _state_of(source, entry),
        copy_files=texts.copy_files or None,
    )


def plan_of(entry: Entry, plan: str, before: AttemptEntry | None) -> str:
    """Give the first message to the agent."""
    parts = [plan]
    if before is not None:
        why = f": {before.error}" if before.error else ""
        parts.insert(
            0,
            f"An earlier attempt at this task ended{why}. What it has done is in this worktree:"
            " look at it first, and go on from there. The task is:",
        )
    if entry.orchestrator:
        parts.append(GUIDE)
    return "\n\n".join(parts)


def _before(entry: Entry, attempts: Sequence[AttemptEntry]) -> AttemptEntry | None:
    """Give the attempt whose state the latest one goes on from: the one before, if the same daemon
    has it.
    """
    earlier = [each for each in attempts if each.number < entry.standing.attempt]
    if entry.fresh or not earlier or earlier[-1].machine != entry.machine:
        return None
    return earlier[-1]


def _state_of(source: Entry | None, entry: Entry) -> UUID | None:
    if source is None or source.machine != entry.machine:
        return None
    return source.current
