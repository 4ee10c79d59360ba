"""What the server is answered when the daemon that should is not to be had (pure)."""

from __future__ import annotations

from tachikoma.makima.commands import (
    CloneWorktree,
    Command,
    MergeAbort,
    MergeCommit,
    MergeResolve,
    MergeSkip,
    MergeStart,
    RetryCompletionAction,
)
from tachikoma.makima.messages import (
    CloneWorktreeResult,
    CompletionActionResult,
    MergeResult,
    Message,
)


def refusal(command: Command, why: str) -> Message | None:
    """Say that ``command`` came to nothing; None where its answer cannot say that."""
    match command:
        case MergeStart() | MergeResolve() | MergeCommit() | MergeAbort() | MergeSkip():
            return MergeResult(task_id=command.task_id, success=False, message=why)
        case RetryCompletionAction():
            return CompletionActionResult(task_id=command.task_id, success=False, message=why)
        case CloneWorktree():
            return CloneWorktreeResult(task_id=command.task_id, success=False, message=why)
        case _:
            return None
