"""What the life of a task needs: places where agents work, and the agents in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol
from uuid import UUID

from tachikoma.makima.commands import SpawnTask
from tachikoma.makima.record import Isolation, Position, TaskRecord, Workspace
from tachikoma.model.events import Report
from tachikoma.model.vm import Endpoint


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start an agent: ``argv`` in ``directory`` with ``env`` added, and the bytes that its
    standard input begins with (whole lines).
    """

    argv: Sequence[str]
    directory: Path
    env: Mapping[str, str] = field(repr=False)
    first: bytes = field(repr=False)


class AgentSignal(StrEnum):
    """What can be done to an agent and to everything that it started, wherever that went."""

    PAUSE = "pause"
    RESUME = "resume"
    INTERRUPT = "interrupt"
    TERMINATE = "terminate"
    KILL = "kill"


@dataclass(frozen=True, slots=True)
class AgentState:
    """An agent as observed: never ``started``, alive, or ended with ``exit_status`` (128+N for
    signal N; None while it lives, or where nobody could see how it ended).
    """

    started: bool
    alive: bool
    exit_status: int | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """A line that an agent printed, without its end; ``partial`` if it goes on in the next one."""

    text: str
    partial: bool = False
    stderr: bool = False


@dataclass(frozen=True, slots=True)
class Output:
    """What an agent printed after a position, and the position after that.

    Lines of one output are in order; ``ended`` tells that there will be no more, and then
    ``exit_status`` is as in `AgentState`.
    """

    lines: tuple[Line, ...]
    position: Position
    ended: bool = False
    exit_status: int | None = None


class Agent(Protocol):
    """One task's agent: a process that outlives us, at its place.

    A connection that breaks is made again within each method. All of them raise PlaceLostError
    when the place is gone for good (the VM stopped or was deleted), and AgentUnreachableError when
    it could not be reached in time.
    """

    async def state(self) -> AgentState:
        """Look at it."""
        ...

    async def start(self, launch: Launch) -> None:
        """Start it. Does nothing if it has been started before, even if it has ended.

        Raises:
            AgentMissingError: there is no such program at the place.
        """
        ...

    async def read(self, since: Position) -> Output:
        """Give what it printed after ``since``: as soon as there is something, nothing after some
        seconds of silence. At most a few MiB at a time; what is not read holds the agent up when
        it becomes too much. What lies some MiB before ``since`` is forgotten. One at a time.
        """
        ...

    async def send(self, lines: bytes, *, key: str) -> None:
        """Append whole lines to its standard input, once for each ``key``, in order.

        Raises:
            AgentClosedError: its input has been closed, or it has ended.
        """
        ...

    async def close_input(self) -> None:
        """End its standard input behind all that was sent. Idempotent."""
        ...

    async def signal(self, signal: AgentSignal) -> None:
        """Do that to it and all its descendants, also those in sessions of their own. Idempotent;
        does nothing if it has ended.
        """
        ...

    async def aclose(self) -> None:
        """Let go of the connection; the agent goes on."""
        ...


class Place(Protocol):
    """A kind of place where agents work."""

    @property
    def isolation(self) -> Isolation:
        """Which kind."""
        ...

    def api_url(self, server: str) -> str:
        """Give the URL at which an agent there reaches the API of ``server`` (an HTTP URL)."""
        ...

    async def bring_up(
        self, task: UUID, workspace: Workspace, report: Report, *, door: Endpoint | None = None
    ) -> Agent:
        """Make the place of ``task`` ready (boot its VM) and give its agent. Idempotent.

        ``door`` is where the server's API is reached on this host; a VM gets a way to it for as
        long as the agent's connection lives.

        Raises:
            TachikomaError: as the orchestrator's spawn.
        """
        ...

    async def find(
        self, task: UUID, workspace: Workspace, *, door: Endpoint | None = None
    ) -> Agent | None:
        """Give the agent of a task that was brought up before; None if its place is gone or does
        not run. Brings nothing up.
        """
        ...

    async def take_down(self, task: UUID, workspace: Workspace) -> None:
        """End what still runs there and remove the place (the VM with its disk). The worktree
        stays. Does nothing if absent.
        """
        ...


@dataclass(frozen=True, slots=True)
class ActionOutcome:
    """How a completion action went; ``pr_url`` is the pull request's, if there is one."""

    success: bool
    message: str
    pr_url: str | None = None


class Worktrees(Protocol):
    """Where tasks work on the host."""

    async def prepare(
        self,
        order: SpawnTask,
        *,
        existing: Workspace | None,
        previous: Workspace | None,
        parent: Workspace | None,
    ) -> Workspace:
        """Make the worktree of a task, or finish making it. Idempotent.

        ``existing`` is what was made for it before, ``previous`` that of the task it continues,
        ``parent`` that of the task it is a part of.

        Raises:
            WorkspaceError: it cannot be made from what the task asks for.
            GitError: git refused.
        """
        ...

    async def commit_rest(self, workspace: Workspace, subject: str) -> str:
        """Commit what is not committed yet, and give the commit that the branch is at.

        Raises:
            GitError: git refused; all stays as it is.
        """
        ...

    async def clone_to(self, workspace: Workspace, target_dir: str) -> Path:
        """Clone the worktree, with what is not committed, into a directory; gives its path.

        Raises:
            WorkspaceError: it is there and not empty.
        """
        ...

    async def exists(self, target_dir: str) -> tuple[bool, Path]:
        """Tell whether a path is there, and which one that is."""
        ...

    async def committer(self) -> Mapping[str, str]:
        """Give the variables that let an agent commit where the user has told git no name;
        nothing where he has.
        """
        ...

    async def cleanup(self, records: Sequence[TaskRecord]) -> list[str]:
        """Remove the worktrees of tasks that have ended, and what no task knows; gives a line for
        each that held work which is nowhere else now, saying where it was put.
        """
        ...


class Actions(Protocol):
    """What happens to the work of a task that went well."""

    async def act(
        self,
        action: str,
        workspace: Workspace,
        *,
        name: str,
        target_repo: Path | None,
        target_branch: str | None,
    ) -> ActionOutcome:
        """Do ``action`` (`branch`, `merge` or `pr`); one that fails leaves the target as it was.
        Idempotent.
        """
        ...
