"""The daemon's settings: parsed once, frozen; loading them is `configuration`'s."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal

LogLevel = Literal["trace", "debug", "info", "warn", "error"]
LogFormat = Literal["pretty", "json"]
IsolationChoice = Literal["vm", "worktree", "auto"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """How to reach the server. ``url`` is a WebSocket URL with its path, "" if nobody set it;
    intervals are seconds, ``max_reconnect_attempts`` 0 means for ever.
    """

    url: str = ""
    api_key: str = field(default="", repr=False)
    heartbeat_interval_secs: int = 30
    reconnect_interval_secs: int = 5
    max_reconnect_attempts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorktreeSettings:
    """Where tasks have their worktrees, and the clones that these are made from."""

    base_dir: Path
    repos_dir: Path
    branch_prefix: str = "makima/task-"
    cleanup_on_start: bool = False
    default_target_repo: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSettings:
    """How Claude Code is run. ``default_timeout_secs`` 0 means none."""

    claude_command: str = "claude"
    claude_args: tuple[str, ...] = ()
    claude_pre_args: tuple[str, ...] = ()
    enable_permissions: bool = False
    disable_verbose: bool = False
    max_concurrent_tasks: int = 4
    default_timeout_secs: int = 0
    isolation: IsolationChoice = "auto"
    env_vars: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoClone:
    """A repository to clone at start-up; ``name`` is its directory below ``home_dir``."""

    url: str
    name: str
    branch: str | None = None
    shallow: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReposSettings:
    """Full clones that are there for people and for completion actions."""

    home_dir: Path
    auto_clone: tuple[AutoClone, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalDbSettings:
    """Where the daemon keeps its book."""

    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggingSettings:
    """What is logged, and how."""

    level: LogLevel = "info"
    format: LogFormat = "pretty"


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonSettings:
    """Everything that the daemon can be told."""

    server: ServerSettings
    worktree: WorktreeSettings
    process: ProcessSettings
    repos: ReposSettings
    local_db: LocalDbSettings
    logging: LoggingSettings
