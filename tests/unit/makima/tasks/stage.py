"""A place on this machine where small Python programs play the agent."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID, uuid4

from tachikoma.host.clock import SystemClock, attempts
from tachikoma.makima.record import Position
from tachikoma.makima.tasks.agent import HeldAgent
from tachikoma.makima.tasks.port import Launch, Line, Output
from tachikoma.makima.tasks.program import holder_argv
from tachikoma.makima.tasks.visit import Way

SOON_S = 30.0


class Stage:
    """One task's agent, its files, and the processes around it."""

    def __init__(self, base: Path, task: UUID, python: str) -> None:
        self.base = base
        self.root = base / "agents"
        self.place = self.root / str(task)
        self.task = task
        self.agents: list[HeldAgent] = []
        self._python = python

    def agent(self, *, answer_s: float = 20.0) -> HeldAgent:
        """Give another hand on the agent."""
        agent = HeldAgent(way=self._way, where="here", clock=SystemClock(), answer_s=answer_s)
        self.agents.append(agent)
        return agent

    def launch(
        self, code: str, *arguments: str, first: bytes = b"", env: Mapping[str, str] | None = None
    ) -> Launch:
        """Say how to start an agent that runs ``code``."""
        argv = [sys.executable, "-I", "-S", "-u", "-c", code, *arguments]
        return Launch(argv, self.base, env or {}, first)

    async def _way(self) -> Way:
        return Way(holder_argv([self._python], root=str(self.root), task=self.task))

    def conversations(self) -> list[int]:
        """Those who serve the task now: children of ours."""
        return [pid for pid, (parent, _) in self.processes().items() if parent == os.getpid()]

    def holder(self) -> int:
        """The one who holds the agent: it belongs to nobody."""
        (pid,) = (pid for pid, (parent, _) in self.processes().items() if parent != os.getpid())
        return pid

    def processes(self) -> dict[int, tuple[int, bytes]]:
        """Those that run the holder's program for this task: their parents and command lines."""
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                command = (entry / "cmdline").read_bytes()
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if str(self.root).encode() in command and str(self.task).encode() in command:
                found[int(entry.name)] = (parent, command)
        return found


@asynccontextmanager
async def on_stage(base: Path, *, python: str = sys.executable) -> AsyncIterator[Stage]:
    """Set up a place, and leave nothing behind."""
    stage = Stage(base, uuid4(), python)
    try:
        yield stage
    finally:
        agent = stage.agent()
        await agent.discard()
        for each in stage.agents:
            await each.aclose()
        for pid in stage.processes():
            os.kill(pid, signal.SIGKILL)


async def read_all(agent: HeldAgent, since: Position | None = None) -> tuple[list[Line], Output]:
    """Read to the end."""
    lines: list[Line] = []
    position = since or Position()
    while True:
        output = await agent.read(position)
        lines += output.lines
        position = output.position
        if output.ended:
            return lines, output


async def lives(pid: int) -> bool:
    """Tell whether a process lives, giving it a little time to go."""
    async for _ in attempts(SystemClock(), deadline_s=2, most_s=0.05):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return False
        if state in "ZX":
            return False
    return True
