"""The relay's environment file: lines of NAME=VALUE that systemd, podman and a shell read alike
(pure).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from tachikoma.makima.relay.settings import DAEMON_KEYS, KEY, NAME, URL
from tachikoma.model.errors_fleet import MakimaConfigError

NAMES = (URL, KEY, NAME, DAEMON_KEYS)
_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./~\[\]-]*")
_LINE = re.compile(r"(?:export\s+)?([A-Z_][A-Z0-9_]*)=(.*)")
_TOLD = {
    URL: "The server that gives out the tasks.",
    KEY: "The relay's own key there. A secret.",
    NAME: "What the relay is called there.",
    DAEMON_KEYS: "The keys with which daemons may connect here, with commas between. Secrets.",
}


def written(values: Mapping[str, str]) -> str:
    """Give the file's text.

    Raises:
        MakimaConfigError: a value would be read differently by one program and another.
    """
    lines = ["# Read by `tachikoma makima relay --env-file`, and by systemd and podman as well."]
    for name in NAMES:
        if name not in values:
            continue
        if not _PLAIN.fullmatch(values[name]):
            raise MakimaConfigError(
                f"{name} has characters that cannot stand in an environment file",
                hint="use letters, digits and - _ . : / only",
            )
        lines += ["", f"# {_TOLD[name]}", f"{name}={values[name]}"]
    return "\n".join(lines) + "\n"


def read(text: str, *, of: str) -> dict[str, str]:
    """Give the values in a file; ``of`` is its name.

    Raises:
        MakimaConfigError: a line is none of NAME=VALUE; it is not quoted, it may be a secret.
    """
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith(("#", ";")):
            continue
        match = _LINE.fullmatch(stripped)
        if match is None:
            raise MakimaConfigError(
                f"{of}, line {number}: this is not NAME=VALUE",
                hint="`tachikoma makima relay init` writes such a file",
            )
        found[match[1]] = _unquoted(match[2].strip())
    return found


def _unquoted(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
        return value[1:-1]
    return value
