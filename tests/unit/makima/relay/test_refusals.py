from __future__ import annotations

from uuid import UUID

import pytest

from tachikoma.makima.commands import (
    CloneWorktree,
    Command,
    ListBranches,
    MergeAbort,
    PauseTask,
    RetryCompletionAction,
)
from tachikoma.makima.messages import (
    CloneWorktreeResult,
    CompletionActionResult,
    MergeResult,
    Message,
)
from tachikoma.makima.relay.refusals import refusal

TASK = UUID(int=1)
RETRY = RetryCompletionAction(task_id=TASK, task_name="t", action="pr", target_repo_path="/r")


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (MergeAbort(task_id=TASK), MergeResult(task_id=TASK, success=False, message="why")),
        (RETRY, CompletionActionResult(task_id=TASK, success=False, message="why")),
        (
            CloneWorktree(task_id=TASK, target_dir="~"),
            CloneWorktreeResult(task_id=TASK, success=False, message="why"),
        ),
        (PauseTask(task_id=TASK), None),
        (ListBranches(task_id=TASK), None),
    ],
)
def test_who_waits_for_an_answer_that_can_say_no_gets_one(
    command: Command, answer: Message | None
) -> None:
    assert refusal(command, "why") == answer
