"""The real Claude Code as a task's agent: started, heard and asked as the daemon does it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from uuid import UUID, uuid4

from tachikoma.makima.record import Position
from tachikoma.makima.settings import ProcessSettings
from tachikoma.makima.tasks.port import Agent, Launch, Line, Output
from tachikoma.makima.tasks.stream import (
    Account,
    Event,
    TurnEnded,
    claude_argv,
    read_event,
    user_message,
)

PATIENCE_S = 90.0
"""A Claude Code in an emulated VM takes its time."""


class Heard:
    """What an agent said so far, and where that ends."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.position = Position()
        self.lines: list[Line] = []
        self.events: list[Event] = []
        self.account = Account()
        self.last: Output | None = None

    async def until(
        self, wanted: Callable[[Event], bool], *, deadline_s: float = PATIENCE_S
    ) -> Event:
        """Listen until an event of some kind comes; those before it are kept."""
        async with asyncio.timeout(deadline_s):
            while True:
                before = len(self.events)
                await self.listen()
                for event in self.events[before:]:
                    if wanted(event):
                        return event
                assert self.last is None or not self.last.ended, self.said()

    async def turn(self, *, deadline_s: float = PATIENCE_S) -> TurnEnded:
        """Listen until a turn ends."""
        ended = await self.until(lambda event: isinstance(event, TurnEnded), deadline_s=deadline_s)
        assert isinstance(ended, TurnEnded)
        return ended

    async def end(self, *, deadline_s: float = PATIENCE_S) -> int | None:
        """Listen until the agent has ended, and give its exit status."""
        async with asyncio.timeout(deadline_s):
            while self.last is None or not self.last.ended:
                await self.listen()
        return self.last.exit_status

    async def listen(self) -> None:
        """Take in what comes next."""
        self.last = await self.agent.read(self.position)
        self.position = self.last.position
        self.lines += self.last.lines
        for line in self.last.lines:
            if line.stderr or (event := read_event(line.text)) is None:
                continue
            self.events.append(event)
            if isinstance(event, TurnEnded):
                self.account = self.account.after(event)

    async def say(self, text: str) -> UUID:
        """Send a message, and give its id."""
        uuid = uuid4()
        await self.agent.send(user_message(text, uuid), key=str(uuid))
        return uuid

    def said(self) -> str:
        """Everything, for a test that fails."""
        return "\n".join(line.text[:500] for line in self.lines)


def launch(command: str, directory: Path, text: str, env: Mapping[str, str]) -> Launch:
    """Say how to start Claude Code with a first message."""
    argv = claude_argv(ProcessSettings(claude_command=command))
    return Launch(argv, directory, env, user_message(text, uuid4()))
