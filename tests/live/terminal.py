"""A person's terminal: tmux with one window of 80 columns, what is typed there and what is seen."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

COLUMNS, LINES = 80, 30
_LOOK_AGAIN_S = 0.1
_COMMAND_S = 20.0
_ENOUGH = 12


@dataclass(frozen=True, slots=True)
class Terminal:
    """One window. ``seen`` are its screens as they were when something was waited for."""

    socket: Path
    seen: list[str] = field(default_factory=list)

    def type(self, text: str) -> None:
        """Type a line, and press Return once it is seen: sooner, it would pass for a paste."""
        self._tmux("send-keys", "-l", text)
        self.wait_for(text[-_ENOUGH:], deadline_s=_COMMAND_S)
        self._tmux("send-keys", "Enter")

    def screen(self) -> str:
        """Give what is on the screen now."""
        return self._tmux("capture-pane", "-p")

    def wait_for(self, text: str, *, deadline_s: float) -> str:
        """Give the screen once ``text`` is on it."""
        end = time.monotonic() + deadline_s
        while text not in (screen := self.screen()):
            assert time.monotonic() < end, f"{text!r} did not appear:\n{screen}"
            time.sleep(_LOOK_AGAIN_S)
        self.seen.append(screen)
        return screen

    def _tmux(self, *argv: str) -> str:
        return subprocess.run(
            ["tmux", "-S", str(self.socket), *argv],
            check=True,
            capture_output=True,
            timeout=_COMMAND_S,
            encoding="utf-8",
        ).stdout


@contextlib.contextmanager
def terminal(
    argv: Sequence[str], *, cwd: Path, environ: Mapping[str, str], socket: Path
) -> Iterator[Terminal]:
    """Run ``argv`` in a window; whatever happens, nothing of it is left afterwards."""
    window = Terminal(socket)
    size = ("-x", str(COLUMNS), "-y", str(LINES))
    subprocess.run(
        ["tmux", "-S", str(socket), "-f", "/dev/null", "new-session", "-d", *size, *argv],
        cwd=cwd,
        env={**environ, "TERM": "xterm-256color", "LANG": "C.UTF-8"},
        check=True,
        timeout=_COMMAND_S,
    )
    try:
        yield window
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):
            window._tmux("kill-server")
