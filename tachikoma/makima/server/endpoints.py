"""Every endpoint of the REST API, as routes and as the OpenAPI document are made of it (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Literal

from tachikoma.makima.server import bodies, shapes
from tachikoma.makima.server.shapes import Shape

API = "/api/v1"
_TASK = f"{API}/tasks/{{task}}"
Method = Literal["GET", "POST", "DELETE"]


class Who(Enum):
    """Who may call."""

    ANYBODY = auto()
    PEOPLE = auto()
    """Who has a user key, or a session that was opened with one."""
    TOOLS = auto()
    """People, and orchestrators for their own tasks and what is below them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One endpoint. ``refuses`` are the statuses that it may answer beside those of all (400, 401,
    403, 413, 422), ``stream`` marks server-sent events, each with data of the type ``answer``.
    """

    name: str
    method: Method
    path: str
    summary: str
    tag: str
    answer: type[Shape]
    status: int = 200
    who: Who = Who.PEOPLE
    body: type[Shape] | None = None
    query: type[Shape] | None = None
    refuses: tuple[int, ...] = ()
    stream: bool = False
    body_optional: bool = False


def _of_task(  # noqa: PLR0913 - one row of a table
    name: str,
    method: Method,
    below: str,
    summary: str,
    answer: type[Shape],
    *,
    body: type[Shape] | None = None,
    query: type[Shape] | None = None,
    who: Who = Who.PEOPLE,
    refuses: tuple[int, ...] = (404,),
    tag: str = "tasks",
    stream: bool = False,
    body_optional: bool = False,
) -> Endpoint:
    return Endpoint(
        name=name,
        method=method,
        path=f"{_TASK}{below}",
        summary=summary,
        tag=tag,
        answer=answer,
        body=body,
        query=query,
        who=who,
        refuses=refuses,
        stream=stream,
        body_optional=body_optional,
    )


_TOLD = (404, 409, 503)
"""What a command may come to that is told to a daemon, and has no answer."""
_ASKED = (404, 409, 503, 504)
"""And one that has."""

ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        name="health",
        method="GET",
        path="/health",
        summary="Tell whether the server works.",
        tag="server",
        answer=shapes.Health,
        who=Who.ANYBODY,
        refuses=(503,),
    ),
    Endpoint(
        name="overview",
        method="GET",
        path=f"{API}/overview",
        summary="Count tasks and daemons.",
        tag="server",
        answer=shapes.Overview,
    ),
    Endpoint(
        name="whoami",
        method="GET",
        path=f"{API}/self",
        summary="Tell whose key this is; to an orchestrator, which task it leads.",
        tag="server",
        answer=shapes.Caller,
        who=Who.TOOLS,
    ),
    Endpoint(
        name="signIn",
        method="POST",
        path=f"{API}/session",
        summary="Open a session for a browser: sets an HttpOnly cookie.",
        tag="session",
        answer=shapes.Session,
        status=201,
        who=Who.ANYBODY,
        body=bodies.SignIn,
    ),
    Endpoint(
        name="getSession",
        method="GET",
        path=f"{API}/session",
        summary="Give the session of the cookie, with its CSRF token.",
        tag="session",
        answer=shapes.Session,
        refuses=(404,),
    ),
    Endpoint(
        name="signOut",
        method="DELETE",
        path=f"{API}/session",
        summary="End the session of the cookie.",
        tag="session",
        answer=shapes.Nothing,
        refuses=(404,),
    ),
    Endpoint(
        name="createTask",
        method="POST",
        path=f"{API}/tasks",
        summary="Have a task done.",
        tag="tasks",
        answer=shapes.Task,
        status=201,
        who=Who.TOOLS,
        body=bodies.CreateTask,
        refuses=(404, 409),
    ),
    Endpoint(
        name="listTasks",
        method="GET",
        path=f"{API}/tasks",
        summary="List tasks, the newest first.",
        tag="tasks",
        answer=shapes.TaskPage,
        who=Who.TOOLS,
        query=bodies.TaskQuery,
    ),
    Endpoint(
        name="streamEvents",
        method="GET",
        path=f"{API}/events",
        summary="Stream what happens to tasks and daemons.",
        tag="streams",
        answer=shapes.EventData,
        who=Who.TOOLS,
        query=bodies.StreamQuery,
        stream=True,
    ),
    _of_task(
        *("getTask", "GET", "", "Give a task; with `waitS` once it has ended.", shapes.Task),
        who=Who.TOOLS,
        query=bodies.OneTaskQuery,
    ),
    _of_task(
        *("getOutput", "GET", "/output", "Give what its agents printed.", shapes.OutputPage),
        who=Who.TOOLS,
        query=bodies.OutputQuery,
    ),
    _of_task(
        *("streamOutput", "GET", "/output/stream"),
        "Stream what its agents print, until the task has ended.",
        shapes.OutputChunk,
        who=Who.TOOLS,
        query=bodies.OutputStreamQuery,
        stream=True,
        tag="streams",
    ),
    _of_task(
        *("getEvents", "GET", "/events", "Give its history.", shapes.TaskEventPage),
        who=Who.TOOLS,
        query=bodies.EventQuery,
    ),
    _of_task(
        *("sendMessage", "POST", "/message", "Say something to its agent.", shapes.Nothing),
        body=bodies.Message,
        refuses=_TOLD,
    ),
    _of_task(
        *("tellOfSibling", "POST", "/sibling", "Tell its agent what another task does."),
        shapes.Nothing,
        body=bodies.Sibling,
        refuses=_TOLD,
    ),
    _of_task(
        *("pauseTask", "POST", "/pause", "Hold it; a pending one does not begin.", shapes.Task),
        refuses=_TOLD,
    ),
    _of_task(
        *("resumeTask", "POST", "/resume", "Let it go on.", shapes.Task),
        refuses=_TOLD,
    ),
    _of_task(
        *("interruptTask", "POST", "/interrupt", "End it early.", shapes.Task),
        body=bodies.Interrupt,
        body_optional=True,
        refuses=(404, 409),
    ),
    _of_task(
        *("retryTask", "POST", "/retry"),
        "Try it again, and what failed because of it.",
        shapes.Task,
        body=bodies.Retry,
        body_optional=True,
        refuses=(404, 409),
    ),
    _of_task(
        *("archiveTask", "POST", "/archive", "Put it out of the way, or back.", shapes.Task),
        body=bodies.Archive,
        body_optional=True,
        refuses=(404, 409),
    ),
    _of_task(
        *("listBranches", "GET", "/branches", "List the branches of its subtasks."),
        shapes.BranchList,
        who=Who.TOOLS,
        refuses=_ASKED,
        tag="merging",
    ),
    _of_task(
        *("mergeStart", "POST", "/merge/start", "Begin to merge a subtask's branch."),
        shapes.MergeOutcome,
        body=bodies.MergeStart,
        who=Who.TOOLS,
        refuses=_ASKED,
        tag="merging",
    ),
    _of_task(
        *("mergeStatus", "GET", "/merge", "Tell how the merge stands.", shapes.MergeState),
        who=Who.TOOLS,
        refuses=_ASKED,
        tag="merging",
    ),
    _of_task(
        *("mergeResolve", "POST", "/merge/resolve", "Settle the conflict in one file."),
        shapes.MergeOutcome,
        body=bodies.MergeResolve,
        who=Who.TOOLS,
        refuses=_ASKED,
        tag="merging",
    ),
    _of_task(
        *("mergeCommit", "POST", "/merge/commit", "Commit the merge.", shapes.MergeOutcome),
        body=bodies.MergeCommit,
        who=Who.TOOLS,
        refuses=_ASKED,
        tag="merging",
    ),
    _of_task(
        *("mergeAbort", "POST", "/merge/abort", "Give the merge up.", shapes.MergeOutcome),
        who=Who.TOOLS,
        refuses=_ASKED,
        tag="merging",
    ),
    _of_task(
        *("mergeSkip", "POST", "/merge/skip", "Leave a subtask's branch out on purpose."),
        shapes.MergeOutcome,
        body=bodies.MergeSkip,
        who=Who.TOOLS,
        refuses=_ASKED,
        tag="merging",
    ),
    _of_task(
        *("mergeCheck", "GET", "/merge/check"),
        "Tell whether every subtask's branch is merged or skipped.",
        shapes.MergeCheck,
        who=Who.TOOLS,
        refuses=_ASKED,
        tag="merging",
    ),
    _of_task(
        *("runAction", "POST", "/action", "Run a completion action again.", shapes.ActionOutcome),
        body=bodies.RunAction,
        refuses=_ASKED,
    ),
    _of_task(
        *("cloneWorktree", "POST", "/clone", "Clone its worktree into a directory."),
        shapes.CloneOutcome,
        body=bodies.CloneWorktree,
        refuses=_ASKED,
    ),
    _of_task(
        *("targetExists", "GET", "/target-exists", "Look for a directory on its machine."),
        shapes.TargetExists,
        query=bodies.TargetQuery,
        refuses=_ASKED,
    ),
    Endpoint(
        name="listDaemons",
        method="GET",
        path=f"{API}/daemons",
        summary="List the daemons.",
        tag="daemons",
        answer=shapes.DaemonList,
    ),
    Endpoint(
        name="getLoad",
        method="GET",
        path=f"{API}/daemons/{{daemon}}/load",
        summary="Give the load of a daemon over time.",
        tag="daemons",
        answer=shapes.LoadHistory,
        query=bodies.LoadQuery,
        refuses=(404,),
    ),
)
