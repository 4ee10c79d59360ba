"""A daemon's surroundings in memory, in which one task lives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from tachikoma.host.clock import FakeClock
from tachikoma.makima.book import Book
from tachikoma.makima.commands import SpawnTask
from tachikoma.makima.messages import Message
from tachikoma.makima.record import Isolation, TaskStatus
from tachikoma.makima.settings import ProcessSettings
from tachikoma.makima.tasks.life import Life, Parts
from tachikoma.makima.tasks.memory import (
    MemoryActions,
    MemoryAgent,
    MemoryPlace,
    MemoryWorktrees,
)
from tachikoma.makima.tasks.port import Line
from tachikoma.makima.wire import BadFrame, decode_message
from tachikoma.model.vm import Endpoint
from tests.waiting import until

TASK = UUID("550e8400-e29b-41d4-a716-446655440000")


def order(**fields: Any) -> SpawnTask:
    given = {"task_id": TASK, "plan": "Build it", "depth": 0, "is_orchestrator": False}
    return SpawnTask(**{**given, **fields})


@dataclass
class World:
    """A daemon's surroundings in memory, with a real book."""

    book: Book
    place: MemoryPlace
    worktrees: MemoryWorktrees
    actions: MemoryActions
    clock: FakeClock = field(default_factory=FakeClock)
    settings: ProcessSettings = field(default_factory=ProcessSettings)
    kept: list[str] = field(default_factory=list)

    def parts(self) -> Parts:
        return Parts(
            book=self.book,
            worktrees=self.worktrees,
            actions=self.actions,
            places={Isolation.VM: self.place},
            isolation=Isolation.VM,
            settings=self.settings,
            default_target=None,
            clock=self.clock,
            server="http://server",
            door=self.door,
            keep=self.keep,
        )

    async def door(self) -> Endpoint:
        return Endpoint("127.0.0.1", 1)

    def keep(self, task: UUID, lines: Sequence[Line]) -> None:
        del task
        self.kept += [line.text for line in lines]

    async def life(self, **fields: Any) -> Life:
        record = await self.book.admit(order(**fields))
        assert record is not None
        return Life(record, self.parts())

    async def said(self) -> list[Message]:
        stored = await self.book.waiting(0, most_bytes=1 << 20)
        messages = [decode_message(each.text) for each in stored]
        assert not any(isinstance(each, BadFrame) for each in messages)
        return messages  # type: ignore[return-value]  # as just asserted

    async def told(self) -> list[str]:
        """Say in short what the server is told, without progress."""
        return [short(each) for each in await self.said() if each.type != "taskProgress"]

    async def agent(self, task: UUID = TASK) -> MemoryAgent:
        agents = self.place.agents
        await until(lambda: task in agents and agents[task].launch is not None)
        return self.place.agents[task]

    async def until(self, life: Life, status: TaskStatus) -> None:
        await until(lambda: life.record.status is status)


def short(message: Message) -> str:
    fields = message.model_dump(mode="json")
    match fields["type"]:
        case "taskStatusChange":
            return f"{fields['old_status']} > {fields['new_status']}"
        case "taskOutput":
            return "output"
        case "taskComplete":
            return f"complete {fields['success']} {fields['error']}"
        case "completionActionResult":
            return f"action {fields['success']} {fields['message']}"
        case kind:
            return str(kind)
