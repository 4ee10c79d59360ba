"""What requests carry: bodies and queries (pure)."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from pydantic import Field

from tachikoma.makima.record import TaskStatus
from tachikoma.makima.server.shapes import (
    LARGEST_PAGE,
    Action,
    BranchName,
    Name,
    Place,
    RealAction,
    Shape,
    Strategy,
    Text,
)

_MOST_DEPENDENCIES = 100
_MOST_FILES = 1000
_FAR = 2**53
Limit = Annotated[int, Field(ge=1, le=LARGEST_PAGE)]
Offset = Annotated[int, Field(ge=0, le=_FAR)]


class CreateTask(Shape):
    """A task to be done. An orchestrator gives name, plan, baseBranch, orchestrator, dependencies,
    priority, maxAttempts, copyFiles and id; the rest follows from its own task.
    """

    id: Annotated[
        UUID | None,
        Field(description="Chosen by who asks: asking again with the same id makes no second task"),
    ] = None
    name: Annotated[Name | None, Field(description="Else the first line of the plan")] = None
    plan: Annotated[Text, Field(description="The first message to the agent")]
    repo: Annotated[
        Place | None,
        Field(description="URL of the repository, or its path on the daemon's machine"),
    ] = None
    base_branch: Annotated[BranchName | None, Field(description="Else the repository's HEAD")] = (
        None
    )
    target_branch: Annotated[
        BranchName | None, Field(description="What `merge` and `pr` merge into")
    ] = None
    target_repo: Annotated[
        Place | None, Field(description="The repository on the daemon's machine for the action")
    ] = None
    action: Annotated[Action, Field(description="What becomes of the work")] = Action.NONE
    parent: Annotated[UUID | None, Field(description="The orchestrator that it is part of")] = None
    orchestrator: Annotated[bool, Field(description="Whether it leads subtasks")] = False
    dependencies: Annotated[
        tuple[UUID, ...],
        Field(max_length=_MOST_DEPENDENCIES, description="Tasks that have to be done before"),
    ] = ()
    priority: Annotated[int, Field(ge=-100, le=100, description="Higher ones go first")] = 0
    max_attempts: Annotated[
        int, Field(ge=1, le=10, description="How often it is tried before it has failed")
    ] = 1
    copy_files: Annotated[
        tuple[Place, ...],
        Field(max_length=_MOST_FILES, description="What to copy from the parent's worktree"),
    ] = ()
    continue_from: Annotated[
        UUID | None, Field(description="A task from whose branch and state this one goes on")
    ] = None


class Message(Shape):
    """Something said to an agent."""

    text: Text


class Interrupt(Shape):
    """How a task is ended early."""

    graceful: Annotated[bool, Field(description="Whether the agent is asked to stop first")] = True


class Retry(Shape):
    """How a task is tried again."""

    fresh: Annotated[
        bool,
        Field(description="From the base branch anew, instead of going on from the last attempt"),
    ] = False


class Archive(Shape):
    """Whether a task is out of the way."""

    archived: bool = True


class Sibling(Shape):
    """A task of which another one is to be told."""

    sibling: UUID
    changed_files: Annotated[tuple[Place, ...], Field(max_length=_MOST_FILES)] = ()


class MergeStart(Shape):
    """What to merge."""

    branch: BranchName


class MergeResolve(Shape):
    """How to settle the conflict in a file."""

    file: Place
    strategy: Strategy


class MergeCommit(Shape):
    """What to call a merge."""

    message: Text


class MergeSkip(Shape):
    """What is left unmerged."""

    subtask: UUID
    reason: Text


class RunAction(Shape):
    """A completion action to run again; what is missing is as the task has it."""

    action: RealAction
    target_repo: Place | None = None
    target_branch: BranchName | None = None


class CloneWorktree(Shape):
    """Where a task's worktree is to be cloned to, on its machine."""

    directory: Place


class SignIn(Shape):
    """The key with which a browser's session is opened."""

    key: Annotated[str, Field(min_length=1, max_length=200, repr=False)]


class TaskQuery(Shape):
    """Which tasks."""

    status: Annotated[
        tuple[TaskStatus, ...], Field(max_length=len(TaskStatus), description="Any of these")
    ] = ()
    parent: Annotated[UUID | None, Field(description="Only the subtasks of this one")] = None
    top: Annotated[bool, Field(description="Only tasks that are no subtasks")] = False
    archived: Annotated[bool, Field(description="The archived ones instead of the others")] = False
    search: Annotated[
        str | None, Field(max_length=200, description="Text in the name, the plan or the repo")
    ] = None
    begin: Annotated[
        str | None,
        Field(pattern="^[0-9a-f-]{1,36}", max_length=36, description="How the id begins"),
    ] = None
    limit: Limit = 50
    offset: Offset = 0


class OneTaskQuery(Shape):
    """How long to wait."""

    wait_s: Annotated[
        int,
        Field(ge=0, le=300, description="Answer when the task has ended, or after so many seconds"),
    ] = 0


class OutputQuery(Shape):
    """Which piece of the output."""

    after: Annotated[Offset, Field(description="Only what comes after this number")] = 0
    last: Annotated[
        int | None,
        Field(ge=1, le=LARGEST_PAGE, description="The last so many chunks, whatever `after` says"),
    ] = None
    limit: Limit = 200


class StreamQuery(Shape):
    """Where a stream begins; the header `Last-Event-ID` wins."""

    after: Annotated[
        Offset | None, Field(description="Only what comes after this id; else from where it is now")
    ] = None


class OutputStreamQuery(Shape):
    """Where the stream of an output begins; the header `Last-Event-ID` wins."""

    after: Annotated[Offset, Field(description="Only what comes after this number")] = 0


class EventQuery(Shape):
    """Which piece of a task's history."""

    after: Offset = 0
    limit: Limit = 100


class LoadQuery(Shape):
    """Which load."""

    hours: Annotated[int, Field(ge=1, le=168)] = 24


class TargetQuery(Shape):
    """Which directory."""

    directory: Place
