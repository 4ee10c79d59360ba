"""What a server says to its daemon (pure)."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from pydantic import BeforeValidator, Field, ValidationInfo

from tachikoma.makima.frames import I32, Part, TaskId

LONGEST_NAME = 72
"""Characters of a task's name that is derived; it becomes the subject of a commit."""


def name_from(plan: str) -> str:
    """Give the name of a task that came without one: the first line of its plan, cut to fit."""
    lines = (line for text in plan.splitlines() if (line := " ".join(text.split())))
    name = next(lines, "Unnamed task")
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1].rstrip()}…"


def _name(given: object, info: ValidationInfo) -> object:
    return name_from(info.data.get("plan", "")) if given is None or given == "" else given


class Authenticated(Part):
    """Lets the daemon in."""

    type: Literal["authenticated"] = "authenticated"
    daemon_id: UUID
    last_seq: Annotated[
        int | None,
        Field(
            ge=0,
            exclude_if=lambda seq: seq is None,
            description="The highest `seq` that the server has of this machine; missing where the "
            "server does not count them",
        ),
    ] = None


class SpawnTask(Part):
    """Starts a task."""

    type: Literal["spawnTask"] = "spawnTask"
    task_id: TaskId
    plan: Annotated[str, Field(description="The first message to the agent")]
    # Behind the plan: a field sees those that stand before it.
    task_name: Annotated[
        str,
        BeforeValidator(_name),
        Field(
            description="What commits call the task; if missing or empty, the plan's first line",
            validate_default=True,
        ),
    ] = ""
    repo_url: str | None = None
    base_branch: Annotated[
        str | None, Field(description="What the task's branch starts from; null: the remote's HEAD")
    ] = None
    target_branch: Annotated[
        str | None, Field(description="What the completion action merges into")
    ] = None
    parent_task_id: Annotated[UUID | None, Field(description="Null unless it is a subtask")] = None
    depth: Annotated[I32, Field(description="0 for a task, 1 for a subtask, 2 for a subtask's")]
    is_orchestrator: Annotated[bool, Field(description="Whether the task leads subtasks")]
    target_repo_path: Annotated[
        str | None, Field(description="The user's own repository, for the completion action")
    ] = None
    completion_action: Annotated[
        str | None, Field(description="`none`, `branch`, `merge` or `pr`")
    ] = None
    continue_from_task_id: Annotated[
        UUID | None, Field(description="The task whose branch and state this one goes on from")
    ] = None
    copy_files: Annotated[
        tuple[str, ...] | None, Field(description="What to copy from the parent task's worktree")
    ] = None


class PauseTask(Part):
    """Holds a running task."""

    type: Literal["pauseTask"] = "pauseTask"
    task_id: TaskId


class ResumeTask(Part):
    """Lets a task that is held go on."""

    type: Literal["resumeTask"] = "resumeTask"
    task_id: TaskId


class InterruptTask(Part):
    """Ends a task early."""

    type: Literal["interruptTask"] = "interruptTask"
    task_id: TaskId
    graceful: Annotated[bool, Field(description="Whether the agent is asked to stop first")]


class SendMessage(Part):
    """Says something to the agent of a running task."""

    type: Literal["sendMessage"] = "sendMessage"
    task_id: TaskId
    message: str


class InjectSiblingContext(Part):
    """Tells the agent of a task what a task beside it does."""

    type: Literal["injectSiblingContext"] = "injectSiblingContext"
    task_id: TaskId
    sibling_task_id: UUID
    sibling_name: str
    sibling_status: str
    progress_summary: str | None = None
    changed_files: tuple[str, ...]


class ListBranches(Part):
    """Asks for the branches of a task's subtasks."""

    type: Literal["listBranches"] = "listBranches"
    task_id: TaskId


class MergeStart(Part):
    """Begins to merge the branch of a subtask."""

    type: Literal["mergeStart"] = "mergeStart"
    task_id: TaskId
    source_branch: str


class MergeStatus(Part):
    """Asks how the merge stands."""

    type: Literal["mergeStatus"] = "mergeStatus"
    task_id: TaskId


class MergeResolve(Part):
    """Settles the conflict in one file."""

    type: Literal["mergeResolve"] = "mergeResolve"
    task_id: TaskId
    file: str
    strategy: Annotated[str, Field(description="`ours` or `theirs`")]


class MergeCommit(Part):
    """Commits the merge."""

    type: Literal["mergeCommit"] = "mergeCommit"
    task_id: TaskId
    message: str


class MergeAbort(Part):
    """Gives the merge up."""

    type: Literal["mergeAbort"] = "mergeAbort"
    task_id: TaskId


class MergeSkip(Part):
    """Records that the branch of a subtask is left unmerged on purpose."""

    type: Literal["mergeSkip"] = "mergeSkip"
    task_id: TaskId
    subtask_id: UUID
    reason: str


class CheckMergeComplete(Part):
    """Asks whether the branch of every subtask is merged or skipped."""

    type: Literal["checkMergeComplete"] = "checkMergeComplete"
    task_id: TaskId


class RetryCompletionAction(Part):
    """Runs the completion action of a finished task again."""

    type: Literal["retryCompletionAction"] = "retryCompletionAction"
    task_id: TaskId
    task_name: Annotated[str, Field(description="What commits call the task")]
    action: Annotated[str, Field(description="`branch`, `merge` or `pr`")]
    target_repo_path: str
    target_branch: Annotated[str | None, Field(description="What `merge` and `pr` merge into")] = (
        None
    )


class CloneWorktree(Part):
    """Clones the worktree of a task into a directory."""

    type: Literal["cloneWorktree"] = "cloneWorktree"
    task_id: TaskId
    target_dir: str


class CheckTargetExists(Part):
    """Asks whether a path is there."""

    type: Literal["checkTargetExists"] = "checkTargetExists"
    task_id: TaskId
    target_dir: str


class Error(Part):
    """Tells that something the other side said was refused."""

    type: Literal["error"] = "error"
    code: str
    message: str


Command = (
    Authenticated
    | SpawnTask
    | PauseTask
    | ResumeTask
    | InterruptTask
    | SendMessage
    | InjectSiblingContext
    | ListBranches
    | MergeStart
    | MergeStatus
    | MergeResolve
    | MergeCommit
    | MergeAbort
    | MergeSkip
    | CheckMergeComplete
    | RetryCompletionAction
    | CloneWorktree
    | CheckTargetExists
    | Error
)
