"""What is asked of a task's daemon: branches, merges, and finished work; one method for each
endpoint of that name.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar
from uuid import UUID

from tachikoma.makima import commands, messages
from tachikoma.makima.commands import Command
from tachikoma.makima.server import bodies, shapes
from tachikoma.makima.server.calls import Call, Tool, conflict, forbidden
from tachikoma.makima.server.desk import Desk
from tachikoma.makima.server.entries import Entry, Outcome

_QUICK_S = 60.0
_MERGE_S = 180.0
_LONG_S = 600.0
_M = TypeVar("_M")


class BranchDesk:
    """Carries out calls by asking the daemon that has the task."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def list_branches(self, call: Call) -> shapes.BranchList:
        """Give the branches of a task's subtasks."""
        entry = await self._led(call)
        said = await self._ask(
            entry, commands.ListBranches(task_id=_current(entry)), messages.BranchList, _QUICK_S
        )
        return shapes.BranchList(
            items=tuple(
                [
                    shapes.Branch(
                        name=each.name,
                        task=await self._task_of(each.task_id),
                        is_merged=each.is_merged,
                        last_commit=each.last_commit,
                        last_commit_message=each.last_commit_message,
                    )
                    for each in said.branches
                ]
            )
        )

    async def merge_start(self, call: Call) -> shapes.MergeOutcome:
        """Begin a merge."""
        entry, given = await self._led(call), call.given(bodies.MergeStart)
        return await self._merge(
            entry, commands.MergeStart(task_id=_current(entry), source_branch=given.branch)
        )

    async def merge_status(self, call: Call) -> shapes.MergeState:
        """Say how a merge stands."""
        entry = await self._led(call)
        said = await self._ask(
            entry,
            commands.MergeStatus(task_id=_current(entry)),
            messages.MergeStatusResponse,
            _QUICK_S,
        )
        return shapes.MergeState(
            in_progress=said.in_progress,
            source_branch=said.source_branch,
            conflicted_files=said.conflicted_files,
        )

    async def merge_resolve(self, call: Call) -> shapes.MergeOutcome:
        """Settle the conflict in a file."""
        entry, given = await self._led(call), call.given(bodies.MergeResolve)
        command = commands.MergeResolve(
            task_id=_current(entry), file=given.file, strategy=given.strategy.value
        )
        return await self._merge(entry, command)

    async def merge_commit(self, call: Call) -> shapes.MergeOutcome:
        """Commit a merge."""
        entry, given = await self._led(call), call.given(bodies.MergeCommit)
        return await self._merge(
            entry, commands.MergeCommit(task_id=_current(entry), message=given.message)
        )

    async def merge_abort(self, call: Call) -> shapes.MergeOutcome:
        """Give a merge up."""
        entry = await self._led(call)
        return await self._merge(entry, commands.MergeAbort(task_id=_current(entry)))

    async def merge_skip(self, call: Call) -> shapes.MergeOutcome:
        """Leave a subtask out, with the earlier attempts at it."""
        entry, given = await self._led(call), call.given(bodies.MergeSkip)
        subtask = await self._desk.reached(call, given.subtask)
        if subtask.parent != entry.id:
            raise conflict("not_a_subtask", f"“{subtask.name}” is no subtask of this task")
        return await self._skip(entry, _current(subtask), given.reason)

    async def merge_check(self, call: Call) -> shapes.MergeCheck:
        """Say whether all is merged or skipped. What attempts have left that were tried again from
        the beginning is skipped by this: their work is not wanted any more.
        """
        entry = await self._led(call)
        for each in await self._superseded(entry):
            await self._skip(entry, each, "it was tried again")
        said = await self._ask(
            entry,
            commands.CheckMergeComplete(task_id=_current(entry)),
            messages.MergeCompleteCheck,
            _QUICK_S,
        )
        return shapes.MergeCheck(
            can_complete=said.can_complete,
            unmerged_branches=said.unmerged_branches,
            merged_count=said.merged_count,
            skipped_count=said.skipped_count,
        )

    async def run_action(self, call: Call) -> shapes.ActionOutcome:
        """Run a completion action again, or another one."""
        entry, given = await self._desk.entry(call), call.given(bodies.RunAction)
        target = given.target_repo or entry.target_repo or ""
        command = commands.RetryCompletionAction(
            task_id=_current(entry),
            task_name=entry.name,
            action=given.action.value,
            target_repo_path=target,
            target_branch=given.target_branch or entry.target_branch,
        )
        if not entry.status.ended:
            raise conflict("wrong_state", f"the task “{entry.name}” is {entry.status}")
        said = await self._ask(entry, command, messages.CompletionActionResult, _LONG_S)
        outcome = Outcome(success=said.success, message=said.message, pr_url=said.pr_url)
        async with self._desk.store.change() as change:
            found = await change.entry(entry.id)
            assert found is not None
            await change.put(replace(found, outcome=outcome), "action", said.message)
        return shapes.ActionOutcome(success=said.success, message=said.message, pr_url=said.pr_url)

    async def clone_worktree(self, call: Call) -> shapes.CloneOutcome:
        """Clone a task's worktree on its machine."""
        entry, given = await self._desk.entry(call), call.given(bodies.CloneWorktree)
        command = commands.CloneWorktree(task_id=_current(entry), target_dir=given.directory)
        said = await self._ask(entry, command, messages.CloneWorktreeResult, _LONG_S)
        return shapes.CloneOutcome(
            success=said.success, message=said.message, directory=said.target_dir
        )

    async def target_exists(self, call: Call) -> shapes.TargetExists:
        """Look for a directory on a task's machine."""
        entry, query = await self._desk.entry(call), call.asked(bodies.TargetQuery)
        command = commands.CheckTargetExists(task_id=_current(entry), target_dir=query.directory)
        said = await self._ask(entry, command, messages.CheckTargetExistsResult, _QUICK_S)
        return shapes.TargetExists(exists=said.exists, directory=said.target_dir)

    async def _led(self, call: Call) -> Entry:
        """Give a task that leads others; to an orchestrator only its own."""
        entry = await self._desk.entry(call)
        if isinstance(call.who, Tool) and entry.id != call.who.task:
            raise forbidden("an orchestrator merges in its own worktree only")
        if not entry.orchestrator:
            raise conflict("not_an_orchestrator", f"the task “{entry.name}” leads no subtasks")
        return entry

    async def _merge(self, entry: Entry, command: Command) -> shapes.MergeOutcome:
        said = await self._ask(entry, command, messages.MergeResult, _MERGE_S)
        return shapes.MergeOutcome(
            success=said.success,
            message=said.message,
            commit_sha=said.commit_sha,
            conflicts=said.conflicts or (),
        )

    async def _skip(self, entry: Entry, attempt: UUID, reason: str) -> shapes.MergeOutcome:
        return await self._merge(
            entry,
            commands.MergeSkip(task_id=_current(entry), subtask_id=attempt, reason=reason),
        )

    async def _superseded(self, entry: Entry) -> list[UUID]:
        async with self._desk.store.change() as change:
            return [
                attempt.id
                for subtask in await change.subtasks(entry.id)
                for attempt in await change.attempts(subtask.id)
                if attempt.id != subtask.current
            ]

    async def _task_of(self, attempt: UUID | None) -> UUID | None:
        if attempt is None:
            return None
        entry = await self._desk.store.entry(attempt)
        return entry.id if entry is not None else None

    async def _ask(self, entry: Entry, command: Command, answer: type[_M], deadline_s: float) -> _M:
        return await self._desk.fleet.ask(entry, command, answer, deadline_s=deadline_s)


def _current(entry: Entry) -> UUID:
    """Give the id by which its daemon knows a task.

    Raises:
        RequestError: none has begun with it.
    """
    if entry.current is None:
        raise conflict("wrong_state", f"no daemon has begun with the task “{entry.name}” yet")
    return entry.current
