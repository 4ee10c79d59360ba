"""What a supervisor can run, with which command and environment (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

SpawnMode = Literal["same-dir", "worktree"]
DEFAULT_CAPACITY = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What `daemon start` was told; None is what nobody said.

    Every worker hears all of it by its environment. What a worker has an own setting for is set
    by it only where somebody said so: the defaults here must not beat a configuration file.
    """

    directory: Path
    spawn_mode: SpawnMode | None = None
    capacity: int | None = None
    permission_mode: str | None = None
    sandbox: bool = False
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Worker:
    """One kind of worker: its command, what its environment has more, and why it is run."""

    kind: str
    argv: tuple[str, ...]
    why: str
    environ: Mapping[str, str]


def environment(options: Options) -> dict[str, str]:
    """Give the variables that every worker gets, beside the environment of the supervisor."""
    told = {
        "DAEMON_WORKER_DIR": str(options.directory),
        "DAEMON_WORKER_NAME": options.name,
        "DAEMON_WORKER_SPAWN_MODE": options.spawn_mode or "same-dir",
        "DAEMON_WORKER_CAPACITY": str(options.capacity or DEFAULT_CAPACITY),
        "DAEMON_WORKER_PERMISSION": options.permission_mode,
        "DAEMON_WORKER_SANDBOX": "1" if options.sandbox else "0",
        "DAEMON_WORKER_CREATE_SESSION": "1",
        "CLAUDE_CODE_SESSION_KIND": "daemon-worker",
    }
    return {name: value for name, value in told.items() if value is not None}
