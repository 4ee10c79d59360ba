"""One task's life: a worktree, a place, an agent in it, its output, its end.

Every step is in the book before the next begins, and each can be done again: whatever kills the
daemon, the next one takes the task from where it stands.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from uuid import UUID, uuid4

from tachikoma.host.clock import Clock
from tachikoma.host.tasks import end, spawn
from tachikoma.makima.book import Book
from tachikoma.makima.commands import RetryCompletionAction, SpawnTask
from tachikoma.makima.messages import (
    CompletionActionResult,
    Message,
    RegisterToolKey,
    RevokeToolKey,
    TaskComplete,
    TaskOutput,
    TaskProgress,
    TaskStatusChange,
)
from tachikoma.makima.record import Isolation, Skip, TaskRecord, TaskStatus, Verdict, Workspace
from tachikoma.makima.room import when_there_is_room
from tachikoma.makima.settings import ProcessSettings
from tachikoma.makima.tasks.ending import Ladder, judged, worded
from tachikoma.makima.tasks.port import (
    Actions,
    Agent,
    AgentSignal,
    Launch,
    Line,
    Output,
    Place,
    Worktrees,
)
from tachikoma.makima.tasks.reading import Reading
from tachikoma.makima.tasks.stream import claude_argv, user_message
from tachikoma.makima.tasks.telling import task_environment
from tachikoma.model.errors import TachikomaError
from tachikoma.model.errors_fleet import AgentClosedError, PlaceLostError, WorkspaceError
from tachikoma.model.events import Event, Notice, StepStarted
from tachikoma.model.vm import Endpoint

_log = logging.getLogger(__name__)
_TAKE_DOWN_PAUSES_S = (1.0, 5.0, 0.0)
_KEY_BYTES = 32
_LAST_WRITE_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What all tasks of a daemon share. ``default_target`` is where the work goes of tasks that do
    not say; ``server`` is the server's HTTP URL; ``door`` gives the
    endpoint behind which orchestrators reach it; ``keep`` takes down what an agent printed.
    """

    book: Book
    worktrees: Worktrees
    actions: Actions
    places: Mapping[Isolation, Place]
    isolation: Isolation
    settings: ProcessSettings
    default_target: Path | None
    clock: Clock
    server: str
    door: Callable[[], Awaitable[Endpoint]]
    keep: Callable[[UUID, Sequence[Line]], None]


def target_of(order: SpawnTask | RetryCompletionAction, default: Path | None) -> Path | None:
    """Say whose repository the work of a task is for."""
    return Path(order.target_repo_path) if order.target_repo_path else default


class Life:
    """Takes one task from where it stands to its end; the daemon's commands reach it here."""

    def __init__(self, record: TaskRecord, parts: Parts) -> None:
        self._record = record
        self._parts = parts
        self._lock = asyncio.Lock()
        self._agent: Agent | None = None
        self._beginning: asyncio.Task[None] | None = None
        self._ladder: asyncio.Task[None] | None = None
        self._telling: asyncio.Task[None] | None = None
        self._writes: set[asyncio.Task[None]] = set()
        self._over = asyncio.Event()
        self._reading = Reading(record)

    @property
    def record(self) -> TaskRecord:
        """The task as it stands."""
        return self._record

    async def run(self) -> None:
        """Live. What a task can cause becomes its end; only bugs and cancelling get out, and then
        the agent goes on: the next daemon finds it again.
        """
        try:
            if not self._record.agent_over:
                await self._work()
            await self._tidy_up()
        finally:
            for each in (self._beginning, self._ladder):
                if each is not None:
                    await end(each)
            if self._writes:  # whoever asked for them is gone; the book is about to be closed
                await asyncio.wait(self._writes, timeout=_LAST_WRITE_S)
            for each in list(self._writes):
                await end(each)
            if self._agent is not None:
                await self._agent.aclose()

    async def fail(self, why: str) -> None:
        """End the task after a bug of ours, without doing anything more with its work."""
        if not self._record.status.ended:
            await self._take_down_place()
            await self._say_end(Verdict(TaskStatus.FAILED, why), [])

    # What the server asks for in between

    async def pause(self) -> None:
        """Hold the task: at work with all its processes, else before it begins to work."""
        if self._decided or not await self._to(TaskStatus.PAUSED, paused_at=self._now):
            return
        if self._agent is not None and self._record.started is not None:
            await self._agent.signal(AgentSignal.PAUSE)

    async def resume(self) -> None:
        """Let the task go on. Does nothing to one that is not paused."""
        record = self._record
        if record.status is not TaskStatus.PAUSED:
            return
        if record.started is not None:
            paused_s = record.paused_s + max(0.0, self._now - (record.paused_at or self._now))
            await self._to(TaskStatus.RUNNING, paused_at=None, paused_s=paused_s)
            if self._agent is not None:
                await self._agent.signal(AgentSignal.RESUME)
            return
        beginning = self._beginning is not None
        back = TaskStatus.INITIALIZING if beginning else TaskStatus.PENDING
        await self._to(back, paused_at=None)

    async def interrupt(self, *, graceful: bool) -> None:
        """End the task early. Does nothing once it is over; a hard one overtakes a graceful one."""
        if self._record.status.ended or self._record.agent_over:
            return
        why = "interrupted" if graceful else "killed"
        await self._decide(Verdict(TaskStatus.INTERRUPTED, f"the task was {why} by its server"))
        if self._beginning is not None:
            self._beginning.cancel()
        elif self._agent is not None and (self._ladder is None or not graceful):
            await self._climb_down(self._agent, graceful=graceful)

    async def tell(self, text: str) -> None:
        """Say something to the agent.

        Raises:
            AgentClosedError: it does not take messages any more, or not yet.
        """
        if self._agent is None or self._decided:
            raise AgentClosedError(f"the task is {self._record.status}", hint="it was not told")
        key = uuid4()
        await self._agent.send(user_message(text, key), key=str(key))

    async def skip(self, skips: tuple[Skip, ...]) -> None:
        """Note which subtasks are left out; that does not touch the agent."""
        await self._note(skips=skips)

    # From the order to the agent's end

    async def _work(self) -> None:
        try:
            agent = await self._agent_at_work()
            if agent is not None:
                await self._follow(agent)
        except TachikomaError as error:
            await self._decide(Verdict(TaskStatus.FAILED, worded(error)))
        finally:
            self._over.set()
        await self._note(agent_over=True)

    async def _agent_at_work(self) -> Agent | None:
        """Give the agent, begun or found again; None if the task was interrupted before."""
        record = self._record
        if record.started is None:
            if record.verdict is None:
                self._beginning = spawn(self._begin(), name=f"begin {self._record.id}")
                await asyncio.wait({self._beginning})
                self._beginning = None
            return self._agent if self._record.started is not None else None
        assert record.workspace is not None
        place = self._place
        self._agent = await place.find(record.id, record.workspace, door=await self._door())
        if self._agent is None or not (await self._agent.state()).started:
            vm = place.isolation is Isolation.VM
            what = "its VM was stopped or deleted" if vm else "all that was known of it was removed"
            raise PlaceLostError(
                f"the agent is gone: {what} while the daemon was away",
                hint=f"what it did is in {record.workspace.worktree}",
            )
        # What was asked for while no daemon, or not yet this one, had hold of it.
        held = self._record.status is TaskStatus.PAUSED
        await self._agent.signal(AgentSignal.PAUSE if held else AgentSignal.RESUME)
        return self._agent

    async def _begin(self) -> None:
        """Make the worktree and the place, and start the agent. Cancelled by an interrupt."""
        parts, order = self._parts, self._record.order
        try:
            if self._record.status is not TaskStatus.PAUSED:
                await self._to(TaskStatus.INITIALIZING)
            self._report(StepStarted("worktree", "Making the worktree"))
            workspace = await parts.worktrees.prepare(
                order,
                existing=self._record.workspace,
                previous=await self._continued(order.continue_from_task_id),
                parent=await self._workspace_of(order.parent_task_id),
            )
            await self._note(
                workspace=workspace, isolation=self._record.isolation or parts.isolation
            )
            await self._make_key()
            agent = await self._place.bring_up(
                order.task_id, workspace, self._report, door=await self._door()
            )
            self._agent = agent
            await agent.start(self._launch(workspace, await parts.worktrees.committer()))
            await self._started(agent)
        except TachikomaError as error:
            await self._decide(Verdict(TaskStatus.FAILED, worded(error)))

    async def _started(self, agent: Agent) -> None:
        """Note that the agent works; one whose task was paused meanwhile is held at once."""
        await self._note(started=self._now)
        if self._record.status is TaskStatus.PAUSED:
            await self._note(paused_at=self._now)
            await agent.signal(AgentSignal.PAUSE)
        else:
            await self._to(TaskStatus.RUNNING)

    async def _make_key(self) -> None:
        """Give an orchestrator the key with which it may call the server."""
        record = self._record
        if record.order.is_orchestrator and not record.tool_key:
            key = secrets.token_urlsafe(_KEY_BYTES)
            await self._note(RegisterToolKey(task_id=record.id, key=key), tool_key=key)

    def _launch(self, workspace: Workspace, committer: Mapping[str, str]) -> Launch:
        order, settings = self._record.order, self._parts.settings
        own = task_environment(
            str(order.task_id),
            tool_key=self._record.tool_key,
            api_url=self._place.api_url(self._parts.server),
        )
        return Launch(
            argv=claude_argv(settings),
            directory=workspace.worktree,
            env={**committer, **settings.env_vars, **own},
            # The task's own id: a message that is sent twice is taken once.
            first=user_message(order.plan, order.task_id),
        )

    async def _follow(self, agent: Agent) -> None:
        if self._decided and self._ladder is None:  # an earlier daemon was told how it ends
            await self._climb_down(agent, graceful=True)
        closed = False
        while True:
            await self._parts.book.room()
            output = await agent.read(self._record.position)
            await self._take_down(output)
            if output.ended:
                break
            if self._record.result is not None and not closed:
                closed = True
                await agent.close_input()
            await self._mind_the_time(agent)
        if self._record.verdict is None:
            await self._decide(
                judged(self._record.result, output.exit_status, self._reading.last_words)
            )

    async def _take_down(self, output: Output) -> None:
        """Note what was printed, and what it means, in one transaction with saying it."""
        if not output.lines:
            return
        record = self._record
        directory = PurePosixPath(record.workspace.worktree) if record.workspace else None
        for line in output.lines:
            self._reading.read(line, directory=directory)
        said: list[Message] = [
            TaskOutput(task_id=record.id, output=line.text, is_partial=line.partial)
            for line in output.lines
        ]
        seen = self._reading.seen
        if seen.summary != record.summary:
            said.append(TaskProgress(task_id=record.id, summary=seen.summary))
        await self._note(
            *said,
            position=output.position,
            session=seen.session,
            figures=seen.figures,
            summary=seen.summary,
            result=seen.result,
        )
        self._parts.keep(record.id, output.lines)

    async def _mind_the_time(self, agent: Agent) -> None:
        limit = self._parts.settings.default_timeout_secs
        if limit and not self._decided and self._record.worked_s(self._now) > limit:
            late = f"it took longer than {limit} s (`process.default_timeout_secs`)"
            await self._decide(Verdict(TaskStatus.FAILED, late))
            await self._climb_down(agent, graceful=True)

    async def _climb_down(self, agent: Agent, *, graceful: bool) -> None:
        """End the agent, step by step where there is time; reading its output goes on."""
        if self._ladder is not None:
            await end(self._ladder)
        ladder = Ladder(agent, over=self._over)
        self._ladder = spawn(ladder.down(graceful=graceful), name=f"end {self._record.id}")

    # From the agent's end to the task's

    async def _tidy_up(self) -> None:
        """Take the place down, keep the work, do what is to be done with it, and say the end."""
        record = self._record
        verdict = record.verdict or Verdict(TaskStatus.FAILED, "nobody knows how its agent ended")
        await self._take_down_place()
        said: list[Message] = []
        if verdict.status is TaskStatus.DONE and record.workspace is not None:
            verdict, said = await self._deliver(record.workspace)
        await self._say_end(verdict, said)

    async def _say_end(self, verdict: Verdict, said: list[Message]) -> None:
        record = self._record
        if record.tool_key:
            said.append(RevokeToolKey(task_id=record.id))
        good = verdict.status is TaskStatus.DONE
        said += [
            TaskStatusChange(
                task_id=record.id, old_status=record.status, new_status=verdict.status
            ),
            TaskComplete(task_id=record.id, success=good, error=verdict.error or None),
        ]
        await self._note(
            *said,
            status=verdict.status,
            verdict=verdict,
            ended=self._now,
            tool_key="",
            paused_at=None,
        )
        _log.info("task %s is %s: %s", record.id, verdict.status, verdict.error or "all went well")

    async def _deliver(self, workspace: Workspace) -> tuple[Verdict, list[Message]]:
        order = self._record.order
        try:
            await self._parts.worktrees.commit_rest(workspace, order.task_name)
        except TachikomaError as error:
            where = f"its work is in {workspace.worktree}, and was not committed"
            return Verdict(TaskStatus.FAILED, f"{where}: {worded(error)}"), []
        action = order.completion_action or "none"
        if action == "none":
            return Verdict(TaskStatus.DONE), []
        outcome = await self._parts.actions.act(
            action,
            workspace,
            name=order.task_name,
            target_repo=target_of(order, self._parts.default_target),
            target_branch=order.target_branch,
        )
        told = CompletionActionResult(
            task_id=order.task_id,
            success=outcome.success,
            message=outcome.message,
            pr_url=outcome.pr_url,
        )
        kept = f"the work is on {workspace.branch}, but the action `{action}` failed: "
        why = "" if outcome.success else f"{kept}{outcome.message}"
        return Verdict(TaskStatus.DONE, why), [told]

    async def _take_down_place(self) -> None:
        """Remove the place, with some patience: a VM that is left over holds disk and memory."""
        workspace = self._record.workspace
        if workspace is None or self._record.isolation is None:
            return
        for pause_s in _TAKE_DOWN_PAUSES_S:
            try:
                await self._place.take_down(self._record.id, workspace)
            except TachikomaError as error:
                _log.warning("the place of task %s stays: %s", self._record.id, worded(error))
                await self._parts.clock.sleep(pause_s)
            else:
                return

    # Small things

    @property
    def _place(self) -> Place:
        return self._parts.places[self._record.isolation or self._parts.isolation]

    @property
    def _decided(self) -> bool:
        return self._record.verdict is not None

    async def _door(self) -> Endpoint | None:
        return await self._parts.door() if self._record.order.is_orchestrator else None

    async def _continued(self, task: UUID | None) -> Workspace | None:
        found = await self._workspace_of(task)
        if task is not None and found is None:
            raise WorkspaceError(
                f"there is no work of the task {task} here to go on from",
                hint="it ran elsewhere, or never had a worktree",
            )
        return found

    async def _workspace_of(self, task: UUID | None) -> Workspace | None:
        if task is None:
            return None
        known = await self._parts.book.task(task)
        return known.workspace if known is not None else None

    def _report(self, event: Event) -> None:
        """Turn what the heart reports into progress of the task."""
        if isinstance(event, StepStarted | Notice):
            told = TaskProgress(task_id=self._record.id, summary=event.text)
            self._telling = spawn(self._say(told), name=f"progress {self._record.id}")

    @property
    def _now(self) -> float:
        return self._parts.clock.now()

    async def _to(self, status: TaskStatus, **changes: object) -> bool:
        """Bring the task to ``status`` and say so; tells whether it was in another one."""
        old = self._record.status
        if old is status:
            return False
        told = TaskStatusChange(task_id=self._record.id, old_status=old, new_status=status)
        _log.info("task %s: %s, was %s", self._record.id, status, old)
        await self._note(told, status=status, **changes)
        return True

    async def _decide(self, verdict: Verdict) -> None:
        """Note how the task is to end, unless that is known already."""
        if not self._decided:
            await self._note(verdict=verdict)

    async def _say(self, *messages: Message) -> None:
        with contextlib.suppress(TachikomaError):
            await self._parts.book.say(messages)

    async def _note(self, *messages: Message, **changes: object) -> None:
        """Change the record, here at once and in the book in one transaction with what is said.

        Being cancelled does not stop it half-way.
        """
        self._record = replace(self._record, **changes)  # type: ignore[arg-type]  # by name
        write = spawn(self._write(self._record, messages), name=f"note {self._record.id}")
        self._writes.add(write)
        write.add_done_callback(self._writes.discard)
        await asyncio.shield(write)

    async def _write(self, record: TaskRecord, messages: tuple[Message, ...]) -> None:
        """Write when those before have been written, and when there is room on the disk: as long as
        there is none the task stands still, and so nothing of it is lost.
        """
        async with self._lock:  # first come, first written: it is fair
            await when_there_is_room(
                lambda: self._parts.book.write(record, say=messages),
                who=f"task {record.id}",
                clock=self._parts.clock,
            )
