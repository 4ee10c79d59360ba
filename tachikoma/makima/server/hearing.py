"""What daemons say about tasks, and what becomes of it in the store."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from uuid import UUID

from tachikoma.makima.database import Database
from tachikoma.makima.messages import (
    BranchList,
    CompletionActionResult,
    DaemonDirectories,
    Message,
    RegisterToolKey,
    RevokeToolKey,
    TaskComplete,
    TaskOutput,
    TaskProgress,
    TaskStatusChange,
)
from tachikoma.makima.record import TaskStatus
from tachikoma.makima.server.changing import Change
from tachikoma.makima.server.course import Completed, Said
from tachikoma.makima.server.entries import Entry, Outcome, Places
from tachikoma.makima.server.output import Printed, unfinished
from tachikoma.makima.server.reading import Reading

_log = logging.getLogger(__name__)
_LONGEST_WORDS = 4000


class Hearing:
    """Takes what daemons say into a change, in its order.

    A daemon is believed about the tasks that were given to it, and no others; what it says about an
    attempt with another one in its place is passed over.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._readings: dict[UUID, Reading] = {}

    def forget(self) -> None:
        """Read everything from the store again: a change has come to nothing."""
        self._readings.clear()

    async def take(self, change: Change, machine: UUID, said: Sequence[Message]) -> None:
        """Do what ``said`` means."""
        for messages in _runs(said):
            first = messages[0]
            if isinstance(first, DaemonDirectories):
                await change.places(
                    machine,
                    Places(
                        first.working_directory, first.home_directory, first.worktrees_directory
                    ),
                )
            elif (task := getattr(first, "task_id", None)) is not None:
                entry = await change.entry(task)
                if entry is None or entry.machine != machine or entry.current != task:
                    _log.debug("`%s` of no task of machine %s", first.type, machine)
                elif isinstance(first, TaskOutput):
                    await self._printed(change, entry, messages)
                else:
                    await self._about(change, entry, first)

    async def _about(self, change: Change, entry: Entry, message: Message) -> None:
        match message:
            case TaskStatusChange() | TaskComplete():
                await self._went(change, entry, message)
            case TaskProgress(summary=summary):
                if summary != entry.summary:
                    told = summary[:_LONGEST_WORDS]
                    await change.put(replace(entry, summary=told), "progress", told)
            case RegisterToolKey(key=key):
                if entry.orchestrator and entry.standing.out:
                    await change.tool_key(entry.id, key)
            case RevokeToolKey():
                await change.tool_key(entry.id, None)
            case CompletionActionResult(success=success, message=text, pr_url=url):
                outcome = Outcome(success=success, message=text[:_LONGEST_WORDS], pr_url=url)
                await change.put(replace(entry, outcome=outcome), "action", outcome.message)
            case BranchList():
                await _name_branches(change, entry, message)
            case _:
                pass  # an answer, which is for who has asked

    async def _went(
        self, change: Change, entry: Entry, message: TaskStatusChange | TaskComplete
    ) -> None:
        if isinstance(message, TaskComplete):
            self._readings.pop(message.task_id, None)
            words = (message.error or "")[:_LONGEST_WORDS]
            await change.say(entry, Completed(success=message.success, error=words))
        elif message.new_status in set(TaskStatus):
            await change.say(entry, Said(TaskStatus(message.new_status)))

    async def _printed(self, change: Change, entry: Entry, messages: Sequence[Message]) -> None:
        lines = [each for each in messages if isinstance(each, TaskOutput)]
        attempt = lines[0].task_id
        reading = await self._reading(change, entry, attempt)
        turns = [reading.read(each.output, partial=each.is_partial) for each in lines]
        number = entry.standing.attempt
        await change.print(
            entry, [Printed(change.now, number, each.is_partial, each.output) for each in lines]
        )
        ended = [turn for turn in turns if turn is not None]
        if ended:
            await change.account(entry, attempt, ended[-1].figures, ended[-1].result)

    async def _reading(self, change: Change, entry: Entry, attempt: UUID) -> Reading:
        found = self._readings.get(attempt)
        if found is None:
            record = await change.attempt(attempt)
            assert record is not None
            begun = await unfinished(self._database, entry.arrival, record.number)
            found = self._readings[attempt] = Reading(record.figures, begun)
        return found


async def _name_branches(change: Change, orchestrator: Entry, said: BranchList) -> None:
    """Take down what the branches of subtasks are really called."""
    named = {each.task_id: each.name for each in said.branches if each.task_id is not None}
    for each in await change.subtasks(orchestrator.id):
        name = named.get(each.current) if each.current is not None else None
        if name is not None and name != each.branch:
            await change.put(replace(each, branch=name), "changed", f"its branch is {name}")


def _runs(said: Sequence[Message]) -> Iterator[list[Message]]:
    """Put what one task printed in a row together; all else comes one by one."""

    def kind(at: int) -> object:
        message = said[at]
        return message.task_id if isinstance(message, TaskOutput) else at

    for _, run in groupby(range(len(said)), key=kind):
        yield [said[at] for at in run]
