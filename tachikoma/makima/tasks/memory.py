"""The ports of a task's life in memory: agents that follow a script, for tests."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from uuid import UUID

from tachikoma.makima.commands import SpawnTask
from tachikoma.makima.record import Isolation, Position, TaskRecord, Workspace
from tachikoma.makima.tasks.port import (
    ActionOutcome,
    Agent,
    AgentSignal,
    AgentState,
    Launch,
    Line,
    Output,
)
from tachikoma.model.errors import TachikomaError
from tachikoma.model.errors_fleet import AgentClosedError, PlaceLostError
from tachikoma.model.events import Report, StepStarted
from tachikoma.model.vm import Endpoint

_SILENCE_S = 0.05

React = Callable[[str], Sequence[str]]
"""What an agent prints for a message that it is told."""


def result(**fields: object) -> str:
    """Give the line that ends a turn."""
    good = {"type": "result", "subtype": "success", "is_error": False, "num_turns": 1}
    return json.dumps(good | fields)


def answer(text: str) -> list[str]:
    """Give the lines of a whole turn."""
    said = {"type": "assistant", "message": {"content": [{"type": "text", "text": text}]}}
    init = {"type": "system", "subtype": "init", "session_id": "s-1", "model": "m"}
    return [json.dumps(init), json.dumps(said), result(result=text)]


class MemoryAgent:
    """Prints what ``react`` gives for each message, and ends once its input is closed."""

    def __init__(self, react: React = answer) -> None:
        self.launch: Launch | None = None
        self.told: list[str] = []
        self.signals: list[AgentSignal] = []
        self.closed = False
        self.lost = False
        self.deaf = False
        """Whether nothing but SIGKILL ends it."""
        self._react = react
        self._lines: list[Line] = []
        self._keys: set[str] = set()
        self._exit: int | None = None
        self._held = False
        self._news = asyncio.Event()

    def print(self, *lines: str, stderr: bool = False) -> None:
        """Print something nobody asked for."""
        self._lines += [Line(each, stderr=stderr) for each in lines]
        self._news.set()

    def exit(self, status: int) -> None:
        """End by itself."""
        if self._exit is None:
            self._exit = status
        self._news.set()

    def lose(self) -> None:
        """Lose its place."""
        self.lost = True
        self._news.set()

    async def state(self) -> AgentState:
        """Look at it."""
        self._check()
        return AgentState(self.launch is not None, self._exit is None, self._exit)

    async def start(self, launch: Launch) -> None:
        """Start it."""
        self._check()
        if self.launch is None:
            self.launch = launch
            self._hear(launch.first)

    async def read(self, since: Position) -> Output:
        """Give what it printed; a position counts lines here."""
        while not self._lines[since.stdout :] and self._exit is None:
            self._check()
            self._news.clear()
            try:
                async with asyncio.timeout(_SILENCE_S):
                    await self._news.wait()
            except TimeoutError:
                return Output((), since)
        self._check()
        lines = () if self._held else tuple(self._lines[since.stdout :])
        ended = self._exit is not None
        return Output(lines, Position(since.stdout + len(lines)), ended, self._exit)

    async def send(self, lines: bytes, *, key: str) -> None:
        """Tell it something."""
        self._check()
        if self.closed or self._exit is not None:
            raise AgentClosedError("its input is closed", hint="it ends")
        if key not in self._keys:
            self._keys.add(key)
            self._hear(lines)

    async def close_input(self) -> None:
        """Let it end."""
        self._check()
        self.closed = True
        if not self.deaf:
            self.exit(0)

    async def signal(self, signal: AgentSignal) -> None:
        """Note the signal; it ends by one that ends."""
        self._check()
        self.signals.append(signal)
        self._held = signal is AgentSignal.PAUSE or (
            self._held and signal is not AgentSignal.RESUME
        )
        if signal is AgentSignal.KILL:
            self.exit(137)
        elif signal in {AgentSignal.INTERRUPT, AgentSignal.TERMINATE} and not self.deaf:
            self.exit(130)
        self._news.set()

    async def aclose(self) -> None:
        """Do nothing."""

    def _hear(self, lines: bytes) -> None:
        for line in lines.decode().splitlines():
            heard = json.loads(line)
            if heard["type"] == "user":
                text = heard["message"]["content"]
                self.told.append(text)
                self.print(*self._react(text))
            elif not self.deaf:
                self.print(result(subtype="error_during_execution", is_error=True))

    def _check(self) -> None:
        if self.lost:
            raise PlaceLostError("the VM was stopped", hint="its work is in the worktree")


class MemoryPlace:
    """Has an agent for each task; ``agents`` tells which, ``down`` which were taken down."""

    def __init__(self, react: React = answer) -> None:
        self.react = react
        self.agents: dict[UUID, MemoryAgent] = {}
        self.down: list[UUID] = []
        self.failure: TachikomaError | None = None
        self.slow = asyncio.Event()
        self.slow.set()

    @property
    def isolation(self) -> Isolation:
        """Stand for a VM."""
        return Isolation.VM

    def api_url(self, server: str) -> str:
        """Give a URL that only an agent here would use."""
        return f"{server}/from-inside"

    async def bring_up(
        self, task: UUID, workspace: Workspace, report: Report, *, door: Endpoint | None = None
    ) -> Agent:
        """Give the agent; waits while ``slow`` is not set, fails with ``failure``."""
        del workspace, door
        report(StepStarted("start", "Starting the VM"))
        await self.slow.wait()
        if self.failure is not None:
            raise self.failure
        return self.agents.setdefault(task, MemoryAgent(self.react))

    async def find(
        self, task: UUID, workspace: Workspace, *, door: Endpoint | None = None
    ) -> Agent | None:
        """Give the agent, unless its place was taken down or lost."""
        del workspace, door
        agent = self.agents.get(task)
        return None if agent is None or agent.lost else agent

    async def take_down(self, task: UUID, workspace: Workspace) -> None:
        """Note it."""
        del workspace
        self.down.append(task)


class MemoryWorktrees:
    """Makes no worktrees, only their names."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.prepared: list[tuple[UUID | None, UUID | None]] = []
        self.commits: list[str] = []
        self.failure: TachikomaError | None = None

    async def prepare(
        self,
        order: SpawnTask,
        *,
        existing: Workspace | None,
        previous: Workspace | None,
        parent: Workspace | None,
    ) -> Workspace:
        """Give the names."""
        del previous, parent
        with contextlib.suppress(TachikomaError):
            self.prepared.append((order.continue_from_task_id, order.parent_task_id))
        if self.failure is not None:
            raise self.failure
        short = order.task_id.hex[:8]
        made = Workspace(
            self.base / "repos" / "app", self.base / f"task-{short}", f"makima/task-{short}", "c0"
        )
        return existing or made

    async def commit_rest(self, workspace: Workspace, subject: str) -> str:
        """Note the subject."""
        del workspace
        self.commits.append(subject)
        return f"c{len(self.commits)}"

    async def clone_to(self, workspace: Workspace, target_dir: str) -> Path:
        """Give the path."""
        del workspace
        return Path(target_dir)

    async def exists(self, target_dir: str) -> tuple[bool, Path]:
        """Look."""
        return Path(target_dir).exists(), Path(target_dir)

    async def committer(self) -> Mapping[str, str]:
        """Name somebody."""
        return {"GIT_AUTHOR_NAME": "tachikoma"}

    async def cleanup(self, records: Sequence[TaskRecord]) -> list[str]:
        """Find nothing."""
        del records
        return []


class MemoryActions:
    """Notes the actions, and gives ``outcome``."""

    def __init__(self) -> None:
        self.done: list[tuple[str, str, Path | None, str | None]] = []
        self.outcome = ActionOutcome(success=True, message="it is done")

    async def act(
        self,
        action: str,
        workspace: Workspace,
        *,
        name: str,
        target_repo: Path | None,
        target_branch: str | None,
    ) -> ActionOutcome:
        """Note it."""
        del workspace
        self.done.append((action, name, target_repo, target_branch))
        return self.outcome
