"""What the server's commands about one task do: to its life, to its branches, to its work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

from tachikoma.makima.book import Book
from tachikoma.makima.commands import (
    CheckMergeComplete,
    CheckTargetExists,
    CloneWorktree,
    InjectSiblingContext,
    InterruptTask,
    ListBranches,
    MergeAbort,
    MergeCommit,
    MergeResolve,
    MergeSkip,
    MergeStart,
    MergeStatus,
    PauseTask,
    ResumeTask,
    RetryCompletionAction,
    SendMessage,
)
from tachikoma.makima.frames import BranchInfo
from tachikoma.makima.messages import (
    BranchList,
    CheckTargetExistsResult,
    CloneWorktreeResult,
    CompletionActionResult,
    MergeCompleteCheck,
    MergeResult,
    MergeStatusResponse,
    Message,
)
from tachikoma.makima.record import Skip, TaskRecord, Workspace
from tachikoma.makima.tasks.ending import worded
from tachikoma.makima.tasks.life import Life, target_of
from tachikoma.makima.tasks.merging import Merging, check_complete
from tachikoma.makima.tasks.port import Actions, Worktrees
from tachikoma.makima.tasks.telling import sibling_notice
from tachikoma.model.errors import TachikomaError
from tachikoma.model.errors_fleet import MakimaError

ToLife = PauseTask | ResumeTask | InterruptTask | SendMessage | InjectSiblingContext
ToMerge = MergeStart | MergeStatus | MergeResolve | MergeCommit | MergeAbort | MergeSkip
ToBranches = ListBranches | CheckMergeComplete
ToWork = RetryCompletionAction | CloneWorktree | CheckTargetExists
TaskCommand = ToLife | ToMerge | ToBranches | ToWork


def refused(command: TaskCommand, why: str) -> Sequence[Message]:
    """Give the answer to a command that was not performed; none where the protocol has none."""
    task = command.task_id
    match command:
        case MergeStart() | MergeResolve() | MergeCommit() | MergeAbort() | MergeSkip():
            return [MergeResult(task_id=task, success=False, message=why)]
        case RetryCompletionAction():
            return [CompletionActionResult(task_id=task, success=False, message=why)]
        case CloneWorktree():
            return [CloneWorktreeResult(task_id=task, success=False, message=why)]
        case _:
            return []


@dataclass(frozen=True, slots=True, kw_only=True)
class Performer:
    """Does what the server says about tasks, and gives what is to be answered.

    ``default_target`` is where the work goes of tasks that do not say. ``life_of`` gives the life
    of a task that has not ended. Commands about one task are to come
    one after the other.
    """

    book: Book
    worktrees: Worktrees
    actions: Actions
    merging: Merging
    default_target: Path | None
    life_of: Callable[[UUID], Life | None]

    async def perform(self, command: TaskCommand) -> Sequence[Message]:
        """Do it. What goes wrong is in the answer, where the protocol has one for it.

        Raises:
            TachikomaError: it has none.
        """
        try:
            if isinstance(command, ToLife):
                await self._tell(command)
                return []
            return [await self._answer(command)]
        except TachikomaError as error:
            if answers := refused(command, worded(error)):
                return answers
            raise

    async def _answer(self, command: ToMerge | ToBranches | ToWork) -> Message:
        match command:
            case ListBranches() | CheckMergeComplete():
                return await self._look_at_branches(command)
            case RetryCompletionAction():
                return await self._act_again(command)
            case CloneWorktree():
                return await self._clone(command)
            case CheckTargetExists(task_id=task, target_dir=target):
                exists, place = await self.worktrees.exists(target)
                return CheckTargetExistsResult(task_id=task, exists=exists, target_dir=str(place))
            case MergeStatus(task_id=task):
                return await self._status(task)
            case _:
                return await self._merge(command)

    async def _tell(self, command: ToLife) -> None:
        life = self.life_of(command.task_id)
        if life is None:
            raise MakimaError(
                f"`{command.type}` is about the task {command.task_id}, which does not run here",
                hint="it was dropped",
            )
        match command:
            case PauseTask():
                await life.pause()
            case ResumeTask():
                await life.resume()
            case InterruptTask(graceful=graceful):
                await life.interrupt(graceful=graceful)
            case SendMessage(message=text):
                await life.tell(text)
            case InjectSiblingContext():
                await life.tell(sibling_notice(command))

    # Branches and merges

    async def _look_at_branches(self, command: ToBranches) -> Message:
        record = await self._known(command.task_id)
        subtasks = await self._subtasks(record.id)
        branches: tuple[BranchInfo, ...] = ()
        if record.workspace is not None:
            named = [(each.id, each.workspace.branch) for each in subtasks if each.workspace]
            branches = await self.merging.branches(record.workspace, named)
        if isinstance(command, ListBranches):
            return BranchList(task_id=record.id, branches=branches)
        check = check_complete(branches, record.skips)
        skipped = {skip.subtask for skip in record.skips}
        to_come = [
            f"the branch of {each.id}, which has not begun"
            for each in subtasks
            if each.workspace is None and not each.status.ended and each.id not in skipped
        ]
        return MergeCompleteCheck(
            task_id=record.id,
            can_complete=check.can_complete and not to_come,
            unmerged_branches=(*check.unmerged, *to_come),
            merged_count=check.merged,
            skipped_count=check.skipped,
        )

    async def _status(self, task: UUID) -> MergeStatusResponse:
        state = await self.merging.status(await self._workspace(task))
        return MergeStatusResponse(
            task_id=task,
            in_progress=state.source is not None,
            source_branch=state.source,
            conflicted_files=state.conflicts,
        )

    async def _merge(self, command: ToMerge) -> MergeResult:
        task = command.task_id
        if isinstance(command, MergeSkip):
            return await self._skip(command)
        workspace = await self._workspace(task)
        match command:
            case MergeStart(source_branch=branch):
                done = await self.merging.start(workspace, branch)
            case MergeResolve(file=file, strategy=strategy):
                done = await self.merging.resolve(workspace, file, strategy)
            case MergeCommit(message=message):
                done = await self.merging.commit(workspace, message)
            case _:
                done = await self.merging.abort(workspace)
        return MergeResult(
            task_id=task,
            success=done.success,
            message=done.message,
            commit_sha=done.commit,
            conflicts=done.conflicts,
        )

    async def _skip(self, command: MergeSkip) -> MergeResult:
        record = await self._known(command.task_id)
        subtasks = {each.id for each in await self._subtasks(record.id)}
        if command.subtask_id not in subtasks:
            return MergeResult(
                task_id=record.id,
                success=False,
                message=f"{command.subtask_id} is no subtask of this task here",
            )
        kept = tuple(skip for skip in record.skips if skip.subtask != command.subtask_id)
        skips = (*kept, Skip(command.subtask_id, command.reason))
        if (life := self.life_of(record.id)) is not None:
            await life.skip(skips)
        else:
            await self.book.write(replace(record, skips=skips))
        return MergeResult(
            task_id=record.id, success=True, message=f"left unmerged: {command.reason}"
        )

    # The finished work

    async def _act_again(self, command: RetryCompletionAction) -> CompletionActionResult:
        outcome = await self.actions.act(
            command.action,
            await self._workspace(command.task_id),
            name=command.task_name,
            target_repo=target_of(command, self.default_target),
            target_branch=command.target_branch,
        )
        return CompletionActionResult(
            task_id=command.task_id,
            success=outcome.success,
            message=outcome.message,
            pr_url=outcome.pr_url,
        )

    async def _clone(self, command: CloneWorktree) -> CloneWorktreeResult:
        workspace = await self._workspace(command.task_id)
        place = await self.worktrees.clone_to(workspace, command.target_dir)
        return CloneWorktreeResult(
            task_id=command.task_id,
            success=True,
            message=f"cloned into {place}",
            target_dir=str(place),
        )

    # What is known

    async def _known(self, task: UUID) -> TaskRecord:
        record = await self.book.task(task)
        if record is None:
            raise MakimaError(f"there is no task {task} here", hint="it was never spawned here")
        return record

    async def _workspace(self, task: UUID) -> Workspace:
        workspace = (await self._known(task)).workspace
        if workspace is None:
            raise MakimaError(f"the task {task} has no worktree yet", hint="wait until it runs")
        return workspace

    async def _subtasks(self, task: UUID) -> list[TaskRecord]:
        return [each for each in await self.book.tasks() if each.order.parent_task_id == task]
