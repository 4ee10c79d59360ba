"""Telling the guest's exit status from Tart's own failures (pure).

`tart exec` ends with 1, 2 or 64 when it fails itself, and with the same when the guest's command
does; a command killed by a signal gives 255 whatever the signal. So a command runs below a script
that says, in the stream of its standard output, when it has begun and how it ended, in lines that
start with a number nobody knows. What it says is taken out of the output again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ROOT_ENVIRONMENT = (
    f"PATH={_PATH}",
    "HOME=/root",
    "USER=root",
    "LOGNAME=root",
    "SHELL=/bin/bash",
    "LANG=C.UTF-8",
)
# Asking a shell to be the command is how its process id, and its group's, is known beforehand.
_BEGIN = r"""printf '\n%s+%s\n' "$1" "$$"; shift; exec "$@" """
_AROUND = (
    'mark=$1 begin=$2; shift 2; setsid -- /bin/sh -c "$begin" tachikoma "$mark" "$@"; status=$?; '
    r"""printf '\n%s=%s\n' "$mark" "$status" """
)
_END = (
    "for signal in TERM KILL; do"
    ' kill -$signal "-$1" 2>/dev/null || kill -$signal "$1" 2>/dev/null || exit 0; sleep 1;'
    " done"
)
_AS_ROOT = ("sudo", "-n", "--")
_MOST_DIGITS = 10


def wrapped(command: Sequence[str], *, user: str, mark: str) -> list[str]:
    """Give what to have Tart's agent, who is a user that may use sudo, run for ``command``."""
    identity = ["--reuid", user, "--regid", user, "--init-groups", "--reset-env"]
    drop = [] if user == "root" else ["setpriv", *identity, "--"]
    root = [*_AS_ROOT, "env", "-i", *_ROOT_ENVIRONMENT]
    return [*root, "/bin/sh", "-c", _AROUND, "tachikoma", mark, _BEGIN, *drop, *command]


def ending(pid: int) -> list[str]:
    """Give what to have the agent run to end a command and all its children."""
    return [*_AS_ROOT, "/bin/sh", "-c", _END, "tachikoma", str(pid)]


def power_off() -> list[str]:
    """Give what to have the agent run to shut the guest down."""
    return [*_AS_ROOT, "systemctl", "poweroff"]


class Sentinel:
    """Reads a guest's standard output: ``hear`` gives it without our marks.

    ``pid`` is known once the command has begun, ``status`` once it has ended.
    """

    def __init__(self, mark: str) -> None:
        self._start = b"\n" + mark.encode("ascii")
        self._mark = re.compile(re.escape(self._start) + rb"([+=])(\d{1,10})\n")
        self._held = b""
        self.pid: int | None = None
        self.status: int | None = None

    def hear(self, piece: bytes) -> bytes:
        """Give what of the output so far is certain to be the command's own."""
        data = self._held + piece
        said = self._mark.sub(self._note, data)
        cut = self._uncertain(said)
        self._held = said[cut:]
        return said[:cut]

    def rest(self) -> bytes:
        """Give what was held back, when there comes no more."""
        held, self._held = self._held, b""
        return held

    def _note(self, found: re.Match[bytes]) -> bytes:
        if found[1] == b"+":
            self.pid = self.pid or int(found[2])
        else:
            self.status = int(found[2])
        return b""

    def _uncertain(self, data: bytes) -> int:
        """Give where the beginning of a mark may be, at the end of ``data``."""
        longest = len(self._start) + 1 + _MOST_DIGITS
        place = data.find(b"\n", max(0, len(data) - longest))
        while place != -1:
            tail = data[place:]
            if self._start.startswith(tail) or tail.startswith(self._start):
                return place
            place = data.find(b"\n", place + 1)
        return len(data)
