"""The values of the REST API: what every one has in common, and the types of their fields (pure).

camelCase on the wire and snake_case here, as in the protocol of the daemons.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from tachikoma.makima.record import TaskStatus

LONGEST_PLAN = 500_000
LARGEST_PAGE = 500


class Shape(BaseModel):
    """A value of the API, never changed; a field that it does not have is an error."""

    model_config = ConfigDict(
        alias_generator=to_camel, extra="forbid", frozen=True, validate_by_name=True
    )


def moment(seconds: float) -> datetime:
    """Give a time of the store as the API tells it."""
    return datetime.fromtimestamp(seconds, UTC)


def moment_or_none(seconds: float | None) -> datetime | None:
    """Give a time that may not have come yet."""
    return None if seconds is None else moment(seconds)


class Action(StrEnum):
    """What becomes of the work of a task that went well."""

    NONE = "none"
    BRANCH = "branch"
    MERGE = "merge"
    PR = "pr"


class RealAction(StrEnum):
    """The actions that do something."""

    BRANCH = "branch"
    MERGE = "merge"
    PR = "pr"


class Strategy(StrEnum):
    """Whose version of a file in conflict is taken."""

    OURS = "ours"
    THEIRS = "theirs"


# No `$`: it means the end to some readers of the document, and a line's end to others. Sets of
# characters for that reason, too, where a class would be shorter.
_SOME = r"[^ \t\r\n]"
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=_SOME)]
Text = Annotated[str, Field(min_length=1, max_length=LONGEST_PLAN, pattern=_SOME)]
BranchName = Annotated[str, Field(min_length=1, max_length=255, pattern=_SOME)]
Place = Annotated[str, Field(min_length=1, max_length=4096, pattern=_SOME)]


class Figures(Shape):
    """What a task's agents took so far, in all its attempts, as they say themselves."""

    turns: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_creation_tokens: int
    cost_usd: float


class ActionOutcome(Shape):
    """What came of the completion action."""

    success: bool
    message: str
    pr_url: str | None


class DaemonName(Shape):
    """The daemon that has a task."""

    id: UUID
    hostname: str


class TaskRow(Shape):
    """A task as lists and events tell it."""

    id: UUID
    name: str
    status: TaskStatus
    attention: Annotated[
        str, Field(description="What it waits for a person for, in words; empty if it does not")
    ]
    waits_for: Annotated[
        str, Field(description="Why a pending task has not begun, in words; empty for all others")
    ]
    parent: UUID | None
    depth: int
    orchestrator: bool
    subtasks: Annotated[int, Field(description="How many subtasks it has")]
    dependencies: tuple[UUID, ...]
    priority: int
    repo: str | None
    base_branch: str | None
    target_branch: str | None
    target_repo: str | None
    action: Action
    action_outcome: ActionOutcome | None
    branch: Annotated[
        str | None,
        Field(
            description="The branch of its work: what the daemon said, else what a daemon with the "
            "default branch prefix calls it; null before it begins"
        ),
    ]
    daemon: DaemonName | None
    attempt: Annotated[int, Field(description="The number of the latest attempt; 0 before")]
    max_attempts: int
    archived: bool
    summary: Annotated[str, Field(description="What its agent does, in a few words")]
    error: Annotated[str, Field(description="Why it failed, or what went wrong at its end")]
    figures: Figures
    created_at: AwareDatetime
    started_at: AwareDatetime | None
    ended_at: AwareDatetime | None
    version: Annotated[int, Field(description="Grows with every change: the id of its last event")]


class Attempt(Shape):
    """One attempt at a task; daemons know it by its own id."""

    id: UUID
    number: int
    daemon: DaemonName | None
    status: TaskStatus
    error: str
    created_at: AwareDatetime
    ended_at: AwareDatetime | None


class Task(TaskRow):
    """A task with everything that there is to know of it."""

    plan: str
    result: Annotated[str, Field(description="What its agent said last")]
    copy_files: tuple[str, ...]
    attempts: tuple[Attempt, ...]
    output_bytes: int
    output_dropped_bytes: int


class TaskPage(Shape):
    """Tasks, the newest first."""

    items: tuple[TaskRow, ...]
    total: Annotated[int, Field(description="How many there are in all pages")]
    limit: int
    offset: int


class OutputChunk(Shape):
    """A line that an agent printed, or a piece of one."""

    number: Annotated[int, Field(description="Grows within a task; there may be gaps")]
    at: AwareDatetime
    attempt: int
    text: str
    partial: Annotated[bool, Field(description="Whether the line goes on in the next chunk")]


class OutputPage(Shape):
    """A piece of a task's output, in order."""

    items: tuple[OutputChunk, ...]
    next: Annotated[int, Field(description="What `after` is to be for the next page")]
    more: Annotated[bool, Field(description="Whether there is more already")]
    dropped_bytes: Annotated[
        int, Field(description="Bytes at the beginning that are not kept any more")
    ]
    ended: Annotated[bool, Field(description="Whether the task has ended")]


class TaskEvent(Shape):
    """Something that happened to a task."""

    id: int
    at: AwareDatetime
    what: Annotated[str, Field(description="created, assigned, status, progress, message, ...")]
    text: str


class TaskEventPage(Shape):
    """The history of a task, the oldest first."""

    items: tuple[TaskEvent, ...]
    next: Annotated[int, Field(description="What `after` is to be for the next page")]


class Directories(Shape):
    """Where a daemon keeps things on its machine."""

    working: str
    home: str
    worktrees: str


class Daemon(Shape):
    """A daemon that has been here."""

    id: UUID
    hostname: str
    connected: bool
    relay: Annotated[bool, Field(description="Whether it hands tasks on to daemons of its own")]
    max_concurrent_tasks: int
    active_tasks: Annotated[int, Field(description="Tasks given to it that have not ended")]
    directories: Directories | None
    first_seen_at: AwareDatetime
    connected_at: AwareDatetime | None
    last_heartbeat_at: AwareDatetime | None


class DaemonList(Shape):
    """The daemons, those that are connected first."""

    items: tuple[Daemon, ...]


class LoadSample(Shape):
    """What a daemon had to do at a moment."""

    at: AwareDatetime
    active: int
    most: int


class LoadHistory(Shape):
    """The load of a daemon over time, the oldest first."""

    items: tuple[LoadSample, ...]


class Branch(Shape):
    """A branch of a subtask."""

    name: str
    task: UUID | None
    is_merged: bool
    last_commit: str
    last_commit_message: str


class BranchList(Shape):
    """The branches of a task's subtasks."""

    items: tuple[Branch, ...]


class MergeState(Shape):
    """How a merge stands."""

    in_progress: bool
    source_branch: str | None
    conflicted_files: tuple[str, ...]


class MergeOutcome(Shape):
    """What came of a step of a merge."""

    success: bool
    message: str
    commit_sha: str | None
    conflicts: tuple[str, ...]


class MergeCheck(Shape):
    """Whether the branch of every subtask is merged or skipped."""

    can_complete: bool
    unmerged_branches: tuple[str, ...]
    merged_count: int
    skipped_count: int


class CloneOutcome(Shape):
    """What came of cloning a worktree."""

    success: bool
    message: str
    directory: str | None


class TargetExists(Shape):
    """Whether a directory is there on the machine of a task."""

    exists: bool
    directory: str


class KeyKind(StrEnum):
    """What a key is good for."""

    USER = "user"
    DAEMON = "daemon"


class Caller(Shape):
    """Who calls: a person with a key, or the orchestrator of a task."""

    kind: Annotated[str, Field(description="user or tool")]
    name: str
    task: UUID | None


class Session(Shape):
    """A session of a browser. Unsafe requests carry `csrfToken` in `X-CSRF-Token`."""

    name: Annotated[str, Field(description="The name of the key that it was opened with")]
    csrf_token: Annotated[str, Field(repr=False)]
    expires_at: AwareDatetime


class Overview(Shape):
    """How the whole stands."""

    version: str
    tasks: Annotated[dict[str, int], Field(description="Tasks by status, without archived ones")]
    daemons_connected: int
    daemons_known: int
    last_event: Annotated[int, Field(description="The id of the latest event")]


class Health(Shape):
    """That the server answers, and its database does."""

    healthy: bool
    version: str


class Nothing(Shape):
    """The request was carried out, and there is nothing more to say."""


class Refusal(Shape):
    """Why a request was not carried out."""

    code: Annotated[str, Field(description="Stable: programs may rely on it")]
    message: str
    hint: Annotated[str, Field(description="What to do next; may be empty")]


class ErrorAnswer(Shape):
    """The body of every answer with a status from 400 on."""

    error: Refusal


class EventData(Shape):
    """The data of an event: what happened, and how the task or daemon stands now."""

    what: str
    text: str
    at: AwareDatetime
    task: TaskRow | None = None
    daemon: Daemon | None = None


class StreamEnd(Shape):
    """The data of the last event of a stream of output: the task has ended."""

    status: TaskStatus
    error: str


class StreamGap(Shape):
    """The data of an event that tells of output that is not kept any more."""

    dropped_bytes: Annotated[int, Field(description="Of this task, since its beginning")]
