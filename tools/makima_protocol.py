"""The reference page of makima's protocol: every frame, its fields, and an example that decodes."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from typing import get_args, get_origin
from uuid import UUID

from tachikoma.makima.commands import Command
from tachikoma.makima.frames import BranchInfo, Part
from tachikoma.makima.messages import Message
from tachikoma.makima.wire import BadFrame, Frame, decode, encode

BRANCH = "makima/task-6ba7b810"
TASK = UUID("550e8400-e29b-41d4-a716-446655440000")
SUBTASK = UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
EXAMPLES: dict[str, object] = {
    "action": "pr",
    "active_tasks": (TASK,),
    "api_key": "mk_0123456789abcdef",
    "base_branch": "main",
    "can_complete": False,
    "changed_files": ("src/login.py",),
    "code": "bad_message",
    "commit_sha": "9fceb02",
    "completion_action": "branch",
    "conflicted_files": ("src/login.py",),
    "copy_files": ("fixtures/users.json",),
    "daemon_id": UUID("7c9e6679-7425-40de-944b-e07fc1f90ae7"),
    "depth": 0,
    "exists": True,
    "file": "src/login.py",
    "graceful": True,
    "home_directory": "/home/ada/.makima/home",
    "hostname": "worker-1",
    "in_progress": True,
    "is_merged": False,
    "is_orchestrator": False,
    "is_partial": False,
    "key": "tk_0123456789abcdef",
    "last_commit": "9fceb02",
    "last_commit_message": "Add the login page",
    "machine_id": "machine-abc",
    "max_concurrent_tasks": 4,
    "merged_count": 1,
    "message": "Done",
    "name": BRANCH,
    "new_status": "running",
    "old_status": "initializing",
    "output": "All tests pass.\n",
    "plan": "Add a login page.",
    "pr_url": "https://github.com/test/repo/pull/7",
    "progress_summary": "The form is there, its tests are not.",
    "reason": "Its work is in another branch.",
    "repo_url": "https://github.com/test/repo",
    "sibling_name": "Login form",
    "sibling_status": "running",
    "sibling_task_id": SUBTASK,
    "skipped_count": 0,
    "source_branch": BRANCH,
    "strategy": "theirs",
    "subtask_id": SUBTASK,
    "success": True,
    "summary": "The form is there, its tests are not.",
    "target_branch": "main",
    "target_dir": "~/login",
    "target_repo_path": "/home/ada/repo",
    "task_id": TASK,
    "task_name": "Login page",
    "unmerged_branches": (BRANCH,),
    "working_directory": "/home/ada",
    "worktrees_directory": "/home/ada/.makima/worktrees",
}
"""A value for every field; one that is not here is optional, and null in the example."""

OF_ITS_OWN = {
    "error": {"message": "type: there is no 'dance' from this side"},
    "sendMessage": {"message": "Leave the old form as it is."},
    "mergeCommit": {"message": "Merge the login form"},
}
"""Better values for the fields of one frame."""

TYPES: dict[object, str] = {UUID: "UUID", str: "text", bool: "true or false", int: "32-bit number"}
OF_TYPES_OF_THEIR_OWN = {"last_seq": "number, optional"}
HEAD = """# The makima protocol

{note}

A daemon and its server speak over one WebSocket, in text frames of one JSON object each. `type`
says which it is. Fields that are optional may be missing or null in what is read; in what is
written all fields are there. Unknown fields are passed over. UUIDs are written in lower case with
hyphens. A frame that cannot be read ends no connection: a server answers it with `error`, code
`bad_message`; a daemon has no such message and drops the frame.

The daemon's first frame is `authenticate`. The server answers `authenticated`, or `error` and
closes. Then the daemon sends `daemonDirectories` once, and `heartbeat` from time to time.

A daemon keeps what it has to say until the server's WebSocket has answered a ping that was sent
after it, and says it again on the next connection if there was no answer: in order, each message
at least once. A server that wants none twice puts `lastSeq` into `authenticated`: the highest
number that it has of that `machineId`, 0 if it has none. Then the daemon forgets what it said up to
there, and each message has one more field, `seq`: a whole number that is higher than that of every
message before it, also those of earlier connections and processes of the same `machineId`, with
gaps. `authenticate`, `daemonDirectories` and `heartbeat` are not kept and have no number. To a
server without `lastSeq` no frame has a `seq`.

A server, or a relay, may put a `seq` into its commands as well: a whole number that rises for all
that it says under one `daemonId`. A daemon drops a command whose number is not above that of the
last one, as long as it lives and is let in as the same `daemonId`.
"""


def page(note: str) -> str:
    sides = (("Daemon to server", Message), ("Server to daemon", Command))
    return "\n".join(
        [HEAD.format(note=note), *(_side(title, of) for title, of in sides), _branch()]
    )


def _side(title: str, of: object) -> str:
    return "\n".join([f"## {title}\n", *(_section(each) for each in get_args(of))])


def _section(frame: type[Part]) -> str:
    example = _example(frame)
    text = encode(typing.cast("Frame", example))
    read = decode(text)
    assert not isinstance(read, BadFrame), read
    assert read == example
    tag = frame.model_fields["type"].default
    return f"### {tag}\n\n{frame.__doc__}\n\n{_table(frame)}\n```json\n{text}\n```\n"


def _branch() -> str:
    return f"## A branch\n\n{BranchInfo.__doc__}\n\n{_table(BranchInfo)}"


def _example(part: type[Part]) -> Part:
    values = {name: EXAMPLES[name] for name in part.model_fields if name in EXAMPLES}
    if "type" in part.model_fields:
        values |= OF_ITS_OWN.get(part.model_fields["type"].default, {})
    if "branches" in part.model_fields:
        branch = _example(BranchInfo).model_copy(update={"task_id": SUBTASK})
        values["branches"] = (branch,)
    return part(**values)


def _table(part: type[Part]) -> str:
    return "| Field | Type | |\n|---|---|---|\n" + "".join(_rows(part))


def _rows(part: type[Part]) -> Iterator[str]:
    for name, field in part.model_fields.items():
        if name != "type":
            told = OF_TYPES_OF_THEIR_OWN.get(name) or _type(field.annotation) + (
                "" if field.is_required() else ", optional"
            )
            yield f"| `{field.alias}` | {told} | {field.description or ''} |\n"


def _type(of: object) -> str:
    if isinstance(of, types.UnionType):
        return _type(get_args(of)[0])
    if get_origin(of) is tuple:
        return f"list of {_type(get_args(of)[0])}"
    return "branch" if of is BranchInfo else TYPES[of]
