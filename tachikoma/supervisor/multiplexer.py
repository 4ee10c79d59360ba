"""tmux inside a VM: the scripts that are run there, and what they say (pure).

All sessions of a VM are on one tmux server of their own (``-L tachikoma``), so that a person's
tmux in the VM is another one. A session whose program has ended stays until it is killed: its
screen says why. Every script takes its values as arguments; none is pasted into it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

HISTORY = 20_000
"""The lines of a session that are kept."""
NO_TMUX = 69
NO_CLAUDE = 72
TAKEN = 73
"""The exit statuses of the scripts, beside those of tmux."""
DETACH = "Ctrl-B d"

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,47}")
_NUMBER = re.compile(r"[0-9]{1,12}")
_STATUS = re.compile(r"[0-9]{1,3}")
_MOST = 500
"""More sessions than a person has; what a VM says is a guest's word."""
_TMUX = "tmux -L tachikoma -u"
# tmux built with utempter misses the end of a program that comes while it notes the end of its
# terminal, and hears of it with the next end of any child of its own. This is such a child.
_REAP = "run-shell true"
_FRAME = "\x1e"
_FIELDS = "#{session_name} #{session_created} #{pane_dead} #{session_attached} #{pane_dead_status}"

# The options are set before the session is made: they hold for windows that come after.
_START = f"""\
command -v tmux >/dev/null || exit {NO_TMUX}
command -v claude >/dev/null || exit {NO_CLAUDE}
name=$1; shift
{_TMUX} has-session -t "=$name" 2>/dev/null && exit {TAKEN}
exec {_TMUX} -f /dev/null start-server \\; \
set-option -g history-limit {HISTORY} \\; \
set-option -g default-terminal tmux-256color \\; \
set-option -as terminal-features ',*:RGB' \\; \
set-option -g remain-on-exit on \\; \
set-hook -g pane-died 'run-shell "{_TMUX} detach-client -s =#{{session_name}}"' \\; \
set-option -g escape-time 10 \\; \
set-option -g focus-events on \\; \
set-option -g mouse on \\; \
set-option -g status-style 'bg=colour236,fg=colour250' \\; \
set-option -g status-left ' #S ' \\; \
set-option -g status-left-length 48 \\; \
set-option -g status-right '#(true) {DETACH} detaches ' \\; \
set-option -g status-interval 2 \\; \
set-option -g window-status-format '' \\; \
set-option -g window-status-current-format '' \\; \
new-session -d -s "$name" -x 120 -y 40 -c "$PWD" -e COLORTERM=truecolor \
bash -lc 'exec "$@"' session "$@"
"""

_LIST = f"""\
command -v tmux >/dev/null || exit {NO_TMUX}
{_TMUX} {_REAP} \\; list-panes -a -F '{_FIELDS}' 2>/dev/null
exit 0
"""

_ATTACH = f"""\
infocmp "$TERM" >/dev/null 2>&1 || export TERM=xterm-256color
exec {_TMUX} attach-session -t "=$1"
"""

_SHOW = f"""\
exec {_TMUX} capture-pane -p -J -S - -t "=$1:"
"""

# A frame is what the end of the session shows now, behind a mark; nothing but the mark where that
# has not changed. The status of a dead pane ends it, as does the end of the session.
_FOLLOW = f"""\
last=
while shown=$({_TMUX} capture-pane -p -J -S -400 -t "=$1:" 2>/dev/null); do
    if [ "$shown" = "$last" ]; then printf '\\036\\n'; else printf '%s\\n\\036\\n' "$shown"; fi
    dead=$({_TMUX} {_REAP} \\; display-message -p -t "=$1:" '#{{pane_dead}}')
    [ "$shown" = "$last" ] && [ "$dead" = 1 ] && exit 0
    last=$shown
    sleep 1
done
exit 0
"""

# Hanging up is how a terminal goes; what a session started may be in process groups of its own and
# not hear of it, so who descends from it is noted first.
_KILL = f"""\
descent() {{ for each in $(ps -o pid= --ppid "$1"); do echo "$each"; descent "$each"; done; }}
started=$(for pane in $({_TMUX} list-panes -s -F '#{{pane_pid}}' -t "=$1" 2>/dev/null); do
    echo "$pane"; descent "$pane"; done)
{_TMUX} kill-session -t "=$1" 2>/dev/null
[ -n "$started" ] || exit 0
for signal in TERM KILL; do
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        kill -0 $started 2>/dev/null || exit 0
        sleep 0.1
    done
    kill -"$signal" $started 2>/dev/null
done
exit 0
"""


def is_name(text: str) -> bool:
    """Tell whether ``text`` can name a session, and means nothing more to tmux."""
    return _NAME.fullmatch(text) is not None


def start_command(name: str, program: Sequence[str]) -> tuple[str, ...]:
    """Give what makes the session ``name`` in the current directory, at work on ``program``.

    Ends with ``NO_TMUX``, ``NO_CLAUDE`` or ``TAKEN`` where it cannot.
    """
    return ("bash", "-c", _START, "start", name, *program)


def list_command() -> tuple[str, ...]:
    """Give what lists the sessions, as ``decode`` reads it."""
    return ("bash", "-c", _LIST, "list")


def attach_command(name: str) -> tuple[str, ...]:
    """Give what shows a session on a terminal; one that tmux does not know counts as an xterm."""
    return ("bash", "-c", _ATTACH, "attach", name)


def show_command(name: str) -> tuple[str, ...]:
    """Give what prints all that a session has shown, as plain text."""
    return ("bash", "-c", _SHOW, "show", name)


def follow_command(name: str) -> tuple[str, ...]:
    """Give what prints frames, as ``Frames`` reads them, until the session has ended."""
    return ("bash", "-c", _FOLLOW, "follow", name)


def kill_command(name: str) -> tuple[str, ...]:
    """Give what ends a session with all that it started. Does nothing if there is none."""
    return ("bash", "-c", _KILL, "kill", name)


def claude(*, permission_mode: str | None, prompt: str) -> tuple[str, ...]:
    """Give the command line of Claude Code in a session."""
    how = (
        ("--permission-mode", permission_mode)
        if permission_mode
        else ("--dangerously-skip-permissions",)
    )
    return ("claude", *how, *(("--", prompt) if prompt else ()))


@dataclass(frozen=True, slots=True)
class Seen:
    """One session as tmux has it. ``status`` is how its program ended, None while it runs.

    ``created`` is seconds since the epoch by the guest's clock.
    """

    name: str
    created: float
    attached: int
    status: int | None


def decode(said: str) -> dict[str, Seen]:
    """Read what ``list_command`` says: a guest's word, so anything else is passed over.

    A session with several panes runs as long as one of them does.
    """
    found: dict[str, Seen] = {}
    for line in said.splitlines()[:_MOST]:
        name, created, dead, attached, status = [*line.split(" "), "", "", "", ""][:5]
        numbers = _NUMBER.fullmatch(created) and _NUMBER.fullmatch(attached)
        if not (is_name(name) and numbers and dead in ("0", "1")):
            continue
        ended = (int(status) if _STATUS.fullmatch(status) else -1) if dead == "1" else None
        before = found.get(name)
        if before is None or before.status is not None:
            found[name] = Seen(name, float(created), int(attached), ended)
    return found


class Frames:
    """Cuts the output of ``follow_command`` into frames: the lines of each, None for no change."""

    def __init__(self) -> None:
        self._begun: list[str] = []

    def take(self, lines: Sequence[str]) -> list[list[str] | None]:
        """Give the frames that these lines complete."""
        frames: list[list[str] | None] = []
        for line in lines:
            if line != _FRAME:
                self._begun.append(line)
                continue
            frames.append(self._begun or None)
            self._begun = []
        return frames
