"""The daemon's keys for people: every value with its source, and the example file (pure)."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tachikoma.makima.configuration import LoadedDaemon
from tachikoma.makima.keys import DEFAULT_PATHS, KEYS, DaemonKey
from tachikoma.makima.settings import (
    AutoClone,
    LocalDbSettings,
    LoggingSettings,
    ProcessSettings,
    ReposSettings,
    ServerSettings,
    WorktreeSettings,
)

_WIDTH = 96
_HOME = Path("~")
_HEAD = """\
# The settings of makima-daemon: every key with its default.
#
# They are read from /etc/makima-daemon/config.toml (Linux), ~/.config/makima-daemon/config.toml and
# makima-daemon.toml in the current directory; `--config FILE` reads that one instead. A later file
# wins key by key, variables of the environment win over files, options over both.
# `tachikoma makima config` shows what holds, and why.
#
# Relative paths start from the file's directory, in the first two files from your home directory.
# What is marked (*) is not taken from a makima-daemon.toml within a git repository, unless you
# have looked at it and run `tachikoma trust`.
"""
_TABLE = """
# The long form of auto_clone, instead of the list above:
# [[repos.auto_clone]]
# url = "github:user/repo"
# name = "directory"
# branch = "develop"
# shallow = true
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One key as it is shown; ``value`` is as JSON has it, with what is secret taken out."""

    key: str
    value: object
    source: str
    explanation: str
    variables: tuple[str, ...]


def entries(loaded: LoadedDaemon) -> tuple[Entry, ...]:
    """Give every key with its value and source, in the order of the example file."""
    return tuple(
        Entry(
            key=key.name,
            value=plain(key, loaded.value(key.name)),
            source=loaded.sources[key.name],
            explanation=explanation(key),
            variables=key.variables,
        )
        for key in KEYS
    )


def explanation(key: DaemonKey) -> str:
    """Give what a key means, and what holds where it is unset."""
    unset = f" Default: {key.unset}." if key.unset else ""
    return f"{key.explanation}{unset}"


def plain(key: DaemonKey, value: object) -> object:
    """Give a value as JSON has it; of what is secret only that it is there."""
    match value:
        case str() if key.secret:
            return "[redacted]" if value else None
        case "" if key.unset:
            return None
        case Path():
            return str(value)
        case Mapping():
            return dict.fromkeys(value, "[redacted]")
        case tuple():
            return [_clone(each) if isinstance(each, AutoClone) else each for each in value]
        case _:
            return value


def _clone(clone: AutoClone) -> dict[str, object]:
    return {
        "url": clone.url,
        "name": clone.name,
        "branch": clone.branch,
        "shallow": clone.shallow,
    }


def default(key: DaemonKey) -> str:
    """Give the default of a key as TOML writes it; "" where it has none."""
    if key.name in DEFAULT_PATHS:
        return json.dumps(str(_HOME / DEFAULT_PATHS[key.name]))
    value = plain(key, getattr(_DEFAULTS[key.section], key.key))
    if value == {}:
        return "{}"
    return "" if value is None else json.dumps(value)


_DEFAULTS: Mapping[str, object] = {
    "server": ServerSettings(),
    "worktree": WorktreeSettings(base_dir=_HOME, repos_dir=_HOME),
    "process": ProcessSettings(),
    "repos": ReposSettings(home_dir=_HOME),
    "local_db": LocalDbSettings(path=_HOME),
    "logging": LoggingSettings(),
}


def example() -> str:
    """Give ``makima-daemon.toml.example``: every key, explained and commented out."""
    text, section = _HEAD, ""
    for key in KEYS:
        if key.section != section:
            section = key.section
            text += f"\n# [{section}]\n"
        text += _commented(key)
    return text.replace("\n# [local_db]", f"{_TABLE}\n# [local_db]")


def _commented(key: DaemonKey) -> str:
    mark = "(*) " if key.why_not else ""
    words = textwrap.wrap(f"{mark}{explanation(key)} It is {key.kind.expected}.", width=_WIDTH)
    value = default(key) or key.sample
    return "\n" + "".join(f"#   {line}\n" for line in words) + f"# {key.key} = {value}\n"
