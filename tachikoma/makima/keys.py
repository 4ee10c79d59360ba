"""The table of the daemon's keys: what each accepts, means and may be set by.

Names and defaults are the fields of `settings`; this table drives the reading of files and
variables, the example file, the reference page and ``tachikoma makima config``.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from tachikoma.config.layers import (
    Kind,
    Layer,
    MismatchError,
    boolean,
    one_of,
    path,
    text,
    texts,
    whole,
)
from tachikoma.makima import clone_list, server_url

PREFIX = "MAKIMA_DAEMON_"
API_KEY_VARIABLE = "MAKIMA_API_KEY"
"""Sets the key, and beats the two variables that every key has."""


@dataclass(frozen=True, slots=True)
class Shape:
    """As `Kind`, for what only the daemon's settings hold."""

    expected: str
    check: Callable[[object, Layer], object]


@dataclass(frozen=True, slots=True)
class DaemonKey:
    """One key. ``read`` gives what a variable's text means, as a file would hold it.

    ``why_not`` says why a file that came with a repository may not set it ("": it may), other than
    to ``harmless``. ``sample`` and ``unset`` show and explain it where it has no default.
    """

    section: str
    key: str
    kind: Kind | Shape
    explanation: str
    read: Callable[[str], object] = str
    why_not: str = ""
    harmless: object = None
    sample: str = ""
    unset: str = ""
    secret: bool = False

    @property
    def name(self) -> str:
        """The key with its section: ``server.url``."""
        return f"{self.section}.{self.key}"

    @property
    def variables(self) -> tuple[str, str]:
        """Its variables: with the underscores of both names removed, and kept."""
        short = f"{_upper(self.section)}_{_upper(self.key)}"
        return f"{PREFIX}{short}", f"{PREFIX}{self.section}__{self.key}".upper()


def _upper(name: str) -> str:
    return name.replace("_", "").upper()


def _number(found: str) -> object:
    return int(found) if re.fullmatch(r"\d{1,18}", found.strip()) else found


def _truth(found: str) -> object:
    words = {"true": True, "1": True, "yes": True, "on": True}
    words |= {"false": False, "0": False, "no": False, "off": False}
    return words.get(found.strip().lower(), found)


def _json(found: str) -> object:
    with contextlib.suppress(ValueError, RecursionError):
        return json.loads(found)
    return found


def _list(found: str) -> object:
    """Read a list as JSON, or as words in the way of a shell."""
    if isinstance(as_json := _json(found), list):
        return as_json
    try:
        return shlex.split(found)
    except ValueError:
        return found


def _url() -> Shape:
    def check(value: object, _layer: Layer) -> object:
        try:
            return server_url.server_url(value.strip() if isinstance(value, str) else "")
        except ValueError as error:
            raise MismatchError(str(error)) from error

    return Shape(server_url.EXPECTED, check)


def _clones() -> Shape:
    def check(value: object, layer: Layer) -> object:
        try:
            return clone_list.clone_list(value, layer.home)
        except ValueError as error:
            raise MismatchError(str(error)) from error

    return Shape(clone_list.EXPECTED, check)


def _api_key() -> Shape:
    def check(value: object, _layer: Layer) -> object:
        if isinstance(value, str) and re.fullmatch(r"[!-~]{1,4096}", value.strip()):
            return value.strip()
        raise MismatchError

    return Shape("a text of visible ASCII characters", check)


def _word(*choices: str) -> Kind:
    """Accept one of some words, in capitals too."""
    plain = one_of(*choices)

    def check(value: object, layer: Layer) -> str:
        return str(plain.check(value.strip().lower() if isinstance(value, str) else value, layer))

    return Kind(plain.expected, check)


def _program() -> Shape:
    """Accept the name of a program, or a path of one."""
    where = path()

    def check(value: object, layer: Layer) -> object:
        if not isinstance(value, str) or not value.isprintable() or not value.strip():
            raise MismatchError
        return os.path.normpath(str(where.check(value, layer))) if "/" in value else value

    return Shape("the name of a program, or a path of one", check)


def _variables() -> Shape:
    def check(value: object, _layer: Layer) -> object:
        if not isinstance(value, dict):
            raise MismatchError
        return MappingProxyType({name: _variable(name, each) for name, each in value.items()})

    return Shape("a table of variables, each a text", check)


def _variable(name: object, value: object) -> str:
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
        raise MismatchError(f"{str(name)[:60]!r} cannot be the name of a variable")
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case str() if "\0" not in value:
            return value
        case _:
            raise MismatchError(f"{name} is no text")


_YEAR_S = 366 * 86_400
_ARGUMENT = r"[^\x00]*"
_PREFIX_OF_BRANCHES = r"(?!.*(?:\.\.|//|\.lock/))[A-Za-z0-9][A-Za-z0-9._/-]{0,99}"
_TRUSTS_SERVER = "the server gives this host its tasks, and is sent your key"
_RUNS = "it would decide what runs on this host"
_WRITES = "it would decide where the daemon writes on this host"

KEYS: tuple[DaemonKey, ...] = (
    DaemonKey(
        "server",
        "url",
        _url(),
        "Where the makima server is. Without a path it gets /ws/daemon; http(s) means ws(s).",
        why_not=_TRUSTS_SERVER,
        sample='"wss://makima.example.com"',
        unset="none, and the daemon does not start without",
    ),
    DaemonKey(
        "server",
        "api_key",
        _api_key(),
        "The key that the server knows this daemon by. Better than in a file: the variable"
        f" {API_KEY_VARIABLE}, which also wins over the two others.",
        why_not="the daemon would work for somebody else",
        sample='"your-api-key"',
        unset="none, and the daemon does not start without",
        secret=True,
    ),
    DaemonKey(
        "server",
        "heartbeat_interval_secs",
        whole(1, 3600),
        "Seconds between two signs of life.",
        read=_number,
    ),
    DaemonKey(
        "server",
        "reconnect_interval_secs",
        whole(1, 3600),
        "Seconds until the daemon connects anew after it lost the server.",
        read=_number,
    ),
    DaemonKey(
        "server",
        "max_reconnect_attempts",
        whole(0, 1_000_000),
        "Attempts to connect in a row after which the daemon gives up; 0: never.",
        read=_number,
    ),
    DaemonKey(
        "worktree",
        "base_dir",
        path(),
        "Where the worktrees of tasks are.",
        why_not=_WRITES,
    ),
    DaemonKey(
        "worktree",
        "repos_dir",
        path(),
        "Where the bare clones are that worktrees are made from.",
        why_not=_WRITES,
    ),
    DaemonKey(
        "worktree",
        "branch_prefix",
        text("the beginning of a branch's name, such as makima/task-", _PREFIX_OF_BRANCHES),
        "What the branches of tasks begin with; the first 8 characters of the task's id follow.",
    ),
    DaemonKey(
        "worktree",
        "cleanup_on_start",
        boolean(),
        "Whether the daemon tidies worktrees of ended tasks away when it starts. What was not"
        " merged or committed is kept, and the log says where.",
        read=_truth,
        why_not="it would remove worktrees of this host",
        harmless=False,
    ),
    DaemonKey(
        "worktree",
        "default_target_repo",
        path(),
        "Your own repository that finished branches go to where a task names none.",
        why_not=_WRITES,
        sample='"~/projects/my-repo"',
        unset="none",
    ),
    DaemonKey(
        "process",
        "claude_command",
        _program(),
        "Claude Code: a program on the PATH, or a path.",
        why_not=_RUNS,
    ),
    DaemonKey(
        "process",
        "claude_args",
        texts("a text", _ARGUMENT),
        "Arguments for Claude Code behind the daemon's own: --output-format=stream-json"
        " --input-format=stream-json --verbose --dangerously-skip-permissions.",
        read=_list,
        why_not=_RUNS,
    ),
    DaemonKey(
        "process",
        "claude_pre_args",
        texts("a text", _ARGUMENT),
        "Arguments for Claude Code before the daemon's own.",
        read=_list,
        why_not=_RUNS,
    ),
    DaemonKey(
        "process",
        "enable_permissions",
        boolean(),
        "Whether Claude Code asks before it acts: leaves --dangerously-skip-permissions out.",
        read=_truth,
        why_not="it would let Claude Code do everything unasked",
        harmless=True,
    ),
    DaemonKey(
        "process",
        "disable_verbose",
        boolean(),
        "Whether to leave --verbose out.",
        read=_truth,
    ),
    DaemonKey(
        "process",
        "max_concurrent_tasks",
        whole(1, 1000),
        "How many tasks run at a time; the others wait in the order in which they came.",
        read=_number,
    ),
    DaemonKey(
        "process",
        "default_timeout_secs",
        whole(0, _YEAR_S),
        "Seconds after which a task is ended; 0: never.",
        read=_number,
    ),
    DaemonKey(
        "process",
        "isolation",
        _word("vm", "worktree", "auto"),
        'Where agents work: "vm" in a virtual machine of the task\'s own, "worktree" on this host'
        ' with your rights, "auto" in a VM where this host can run one.',
        why_not="agents would work on this host itself",
        harmless="vm",
    ),
    DaemonKey(
        "process",
        "env_vars",
        _variables(),
        "Variables for Claude Code.",
        read=_json,
        why_not=_RUNS,
        secret=True,
    ),
    DaemonKey(
        "repos",
        "home_dir",
        path(),
        "Where auto_clone puts repositories.",
        why_not=_WRITES,
    ),
    DaemonKey(
        "repos",
        "auto_clone",
        _clones(),
        "Repositories that are cloned when the daemon starts; those that are there are left alone.",
        read=_list,
        why_not="it would make this host fetch",
    ),
    DaemonKey(
        "local_db",
        "path",
        path(),
        "The daemon's database; what tasks print is kept in `logs` beside it.",
        why_not=_WRITES,
    ),
    DaemonKey(
        "logging",
        "level",
        _word("trace", "debug", "info", "warn", "error"),
        "How much is logged.",
    ),
    DaemonKey(
        "logging",
        "format",
        _word("pretty", "json"),
        'How: "pretty" for people, "json" one object a line.',
    ),
)
BY_NAME: Mapping[str, DaemonKey] = {each.name: each for each in KEYS}
"""The keys by section and name."""
DEFAULT_PATHS: Mapping[str, Path] = {
    "worktree.base_dir": Path(".makima/worktrees"),
    "worktree.repos_dir": Path(".makima/repos"),
    "repos.home_dir": Path(".makima/home"),
    "local_db.path": Path(".makima/daemon.db"),
}
"""The defaults that start from the home directory."""
