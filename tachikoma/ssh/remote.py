"""The command lines that are sent to a guest's login shell (pure). Every argument arrives as it is.

What a line is wrapped in, from outside in: the user's shell, as sshd starts it; with no terminal
``setpriv`` and a watching bash; a login bash, which reads the user's profile; the command.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from tachikoma.model.errors import SshError

LONGEST = 120_000
"""Linux takes 128 KiB as one argument, and sshd hands the whole line over as one."""

NO_DIRECTORY = 125
"""The exit status when the directory is not there (as of tools that start other commands)."""

_ENTER = (
    'directory=$1; shift; if [ -n "$directory" ] && ! CDPATH= cd -- "$directory" 2>/dev/null; '
    'then echo "tachikoma: the VM has no directory $directory" >&2; '
)
_RUN = _ENTER + f'exit {NO_DIRECTORY}; fi; exec -- "$@"'
_INTERACTIVE = (
    _ENTER + 'echo "tachikoma: starting in the home directory" >&2; cd; fi; '
    'exec "${SHELL:-/bin/bash}" -l'
)

# Without a terminal sshd tells nobody that the connection has gone. So the kernel tells this
# watcher when sshd's process ends, and it ends the command with all that it started: TERM to
# the group, KILL after two seconds. `set -m` gives the command a group of its own, and SIGINT
# as usual; its shell is not told of the command's end, or it would print a line about it.
_WATCH = """\
set -m
end() {
  trap '' TERM
  [ -n "$child" ] || exit 143
  kill -TERM -- "-$child"
  for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    kill -0 -- "-$child" || exit 143
    sleep 0.1
  done
  kill -KILL -- "-$child"
  exit 143
}
child=
trap end TERM
bash -lc "$0" tachikoma "$@" <&0 &
child=$!
exec </dev/null >/dev/null 2>&1
wait "$child"
"""


def without_terminal(command: Sequence[str], directory: str) -> str:
    """Give the line that runs ``command`` in ``directory`` until it or the connection ends.

    Raises:
        SshError: too long for one line, or something that no command line can hold.
    """
    watcher = ["setpriv", "--pdeathsig", "TERM", "bash", "-c", _WATCH, _RUN, directory, *command]
    return _line(["exec", *watcher])


def on_terminal(command: Sequence[str], directory: str) -> str:
    """Give the line that runs ``command``, or a login shell if it is empty, on a terminal.

    Raises:
        SshError: as ``without_terminal``.
    """
    script = _RUN if command else _INTERACTIVE
    return _line(["exec", "bash", "-lc", script, "tachikoma", directory, *command])


def _line(words: Sequence[str]) -> str:
    line = shlex.join(words)
    if "\0" in line:
        raise SshError(
            "a command cannot hold a NUL character", hint="hand such data over on standard input"
        )
    try:
        size = len(line.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError as error:
        raise SshError(
            f"a command cannot hold {error.object[error.start]!r}, which is no character",
            hint="hand such data over on standard input",
        ) from error
    if size > LONGEST:
        raise SshError(
            f"the command is longer than {LONGEST} bytes",
            hint="hand long data over on standard input",
        )
    return line
