"""The environment of this process: what may be read from it, and what a child gets of it."""

from __future__ import annotations

import os
from collections.abc import Mapping

_HANDED_ON = (
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "TERM",
    "TMPDIR",
    "SSH_AUTH_SOCK",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_CACHE_HOME",
    "XDG_RUNTIME_DIR",
)


def current() -> dict[str, str]:
    """Give a copy of the environment of this process."""
    return dict(os.environ)


def for_child(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Give the environment for a child: a few harmless variables, C.UTF-8, and ``extra``.

    Credentials and settings of other tools are not among them; who needs one names it.
    """
    kept = {name: os.environ[name] for name in _HANDED_ON if name in os.environ}
    return kept | {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"} | dict(extra or {})
