"""What a daemon says to its server (pure)."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from tachikoma.makima.frames import I32, U32, BranchInfo, Part, Secret, TaskId


class Authenticate(Part):
    """Says who the daemon is: its first frame."""

    type: Literal["authenticate"] = "authenticate"
    api_key: Secret
    machine_id: str
    hostname: str
    max_concurrent_tasks: I32


class Heartbeat(Part):
    """Tells from time to time that the daemon lives, and what it works on."""

    type: Literal["heartbeat"] = "heartbeat"
    active_tasks: tuple[UUID, ...]


class TaskOutput(Part):
    """Carries what the agent of a task printed."""

    type: Literal["taskOutput"] = "taskOutput"
    task_id: TaskId
    output: str
    is_partial: Annotated[bool, Field(description="Whether the line goes on in a later message")]


class TaskStatusChange(Part):
    """Tells that a task went from one status to another."""

    type: Literal["taskStatusChange"] = "taskStatusChange"
    task_id: TaskId
    old_status: str
    new_status: str


class TaskProgress(Part):
    """Sums up how far a task has come."""

    type: Literal["taskProgress"] = "taskProgress"
    task_id: TaskId
    summary: str


class TaskComplete(Part):
    """Tells that a task has ended; there is one for each task."""

    type: Literal["taskComplete"] = "taskComplete"
    task_id: TaskId
    success: bool
    error: str | None = None


class RegisterToolKey(Part):
    """Makes a key known with which an orchestrator may call the server."""

    type: Literal["registerToolKey"] = "registerToolKey"
    task_id: TaskId
    key: Secret


class RevokeToolKey(Part):
    """Takes the key of an orchestrator back, as its task has ended."""

    type: Literal["revokeToolKey"] = "revokeToolKey"
    task_id: TaskId


class BranchList(Part):
    """Answers `listBranches`."""

    type: Literal["branchList"] = "branchList"
    task_id: TaskId
    branches: tuple[BranchInfo, ...]


class MergeStatusResponse(Part):
    """Answers `mergeStatus`."""

    type: Literal["mergeStatusResponse"] = "mergeStatusResponse"
    task_id: TaskId
    in_progress: bool
    source_branch: str | None = None
    conflicted_files: tuple[str, ...]


class MergeResult(Part):
    """Answers `mergeStart`, `mergeResolve`, `mergeCommit`, `mergeAbort` and `mergeSkip`."""

    type: Literal["mergeResult"] = "mergeResult"
    task_id: TaskId
    success: bool
    message: str
    commit_sha: str | None = None
    conflicts: Annotated[
        tuple[str, ...] | None, Field(description="The files in conflict; null if there are none")
    ] = None


class MergeCompleteCheck(Part):
    """Answers `checkMergeComplete`."""

    type: Literal["mergeCompleteCheck"] = "mergeCompleteCheck"
    task_id: TaskId
    can_complete: bool
    unmerged_branches: tuple[str, ...]
    merged_count: U32
    skipped_count: U32


class CompletionActionResult(Part):
    """Answers `retryCompletionAction`."""

    type: Literal["completionActionResult"] = "completionActionResult"
    task_id: TaskId
    success: bool
    message: str
    pr_url: Annotated[
        str | None, Field(description="The pull request, if the action was `pr` and went well")
    ] = None


class DaemonDirectories(Part):
    """Tells once, after `authenticated`, where the daemon keeps things."""

    type: Literal["daemonDirectories"] = "daemonDirectories"
    working_directory: Annotated[str, Field(description="Where the daemon was started")]
    home_directory: Annotated[str, Field(description="Where finished work may be cloned to")]
    worktrees_directory: Annotated[str, Field(description="Where the worktrees of tasks are")]


class CloneWorktreeResult(Part):
    """Answers `cloneWorktree`."""

    type: Literal["cloneWorktreeResult"] = "cloneWorktreeResult"
    task_id: TaskId
    success: bool
    message: str
    target_dir: Annotated[str | None, Field(description="Where the clone is, if there is one")] = (
        None
    )


class CheckTargetExistsResult(Part):
    """Answers `checkTargetExists`."""

    type: Literal["checkTargetExistsResult"] = "checkTargetExistsResult"
    task_id: TaskId
    exists: bool
    target_dir: Annotated[str, Field(description="The path that was looked at")]


Message = (
    Authenticate
    | Heartbeat
    | TaskOutput
    | TaskStatusChange
    | TaskProgress
    | TaskComplete
    | RegisterToolKey
    | RevokeToolKey
    | BranchList
    | MergeStatusResponse
    | MergeResult
    | MergeCompleteCheck
    | CompletionActionResult
    | DaemonDirectories
    | CloneWorktreeResult
    | CheckTargetExistsResult
)
