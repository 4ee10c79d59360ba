"""The scripts for VMs on the tmux of this host, with something else in the place of Claude Code."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from tachikoma.host import process
from tachikoma.supervisor import multiplexer
from tachikoma.supervisor.multiplexer import Frames, Seen, decode
from tachikoma.supervisor.news import News
from tests.live.terminal import terminal

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed"),
]
_DEADLINE_S = 30.0
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Guest:
    """A home in which the program ``claude`` runs what it is told as a script."""

    home: Path
    environ: dict[str, str]

    def run(self, command: Sequence[str], **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.home,
            env={**self.environ, **more},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_DEADLINE_S,
            check=False,
        )

    def start(self, name: str, script: str) -> int:
        return self.run(multiplexer.start_command(name, ("claude", script))).returncode

    def sessions(self) -> dict[str, Seen]:
        done = self.run(multiplexer.list_command())
        assert done.returncode == 0
        return decode(done.stdout)

    def shows(self, name: str, text: str) -> str:
        """Give what a session shows, once ``text`` is in it."""

        def look() -> str:
            shown = self.run(multiplexer.show_command(name)).stdout
            return shown if text in shown else ""

        return within(look)


def within(look: Callable[[], T]) -> T:
    """Give what ``look`` gives, once that is something."""
    end = time.monotonic() + _DEADLINE_S
    while not (found := look()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
    return found


@pytest.fixture
def guest(own_home: Path) -> Iterator[Guest]:
    program = own_home / "bin" / "claude"
    program.parent.mkdir()
    program.write_text('#!/bin/bash\neval "$1"\n')
    program.chmod(0o755)
    path = f"{program.parent}:/usr/bin:/bin"
    (own_home / ".profile").write_text(f"PATH={path}\n")
    environ = {**os.environ, "PATH": path, "TMUX_TMPDIR": str(own_home)}
    yield Guest(own_home, environ)
    with contextlib.suppress(subprocess.CalledProcessError):
        subprocess.run(["tmux", "-L", "tachikoma", "kill-server"], env=environ, check=False)


def test_a_session_is_started_listed_and_shown(guest: Guest) -> None:
    assert guest.sessions() == {}
    script = "echo in $PWD, $COLORTERM on $TERM; printf '\\033[31mred ünï\\033[0m\\n'; sleep 60"
    assert guest.start("night", script) == 0
    shown = guest.shows("night", "red")
    assert shown.splitlines()[:2] == [
        f"in {guest.home}, truecolor on tmux-256color",
        "red ünï",
    ]
    assert guest.start("night", "true") == multiplexer.TAKEN
    assert guest.start("day", "sleep 60") == 0
    found = guest.sessions()
    assert sorted(found) == ["day", "night"]
    assert (found["night"].status, found["night"].attached) == (None, 0)
    assert abs(found["night"].created - time.time()) < _DEADLINE_S
    assert guest.run(multiplexer.show_command("nig")).returncode != 0


def test_what_is_missing_has_a_status_of_its_own(guest: Guest) -> None:
    only = guest.home / "only"
    only.mkdir()
    (only / "bash").symlink_to("/bin/bash")
    command = multiplexer.start_command("night", ("claude",))
    assert guest.run(command, PATH=str(only)).returncode == multiplexer.NO_TMUX
    (only / "tmux").symlink_to("/usr/bin/tmux")
    assert guest.run(command, PATH=str(only)).returncode == multiplexer.NO_CLAUDE


def test_a_session_that_ended_keeps_its_screen_and_lets_go_of_terminals(
    guest: Guest, tmp_path: Path
) -> None:
    go = guest.home / "go"
    script = f"echo waiting; until [ -e {go} ]; do sleep 0.05; done; echo the end; exit 3"
    assert guest.start("night", script) == 0
    attach = multiplexer.attach_command("night")
    argv = ("sh", "-c", '"$@"; echo back at home; sleep 60', "sh", *attach)
    strange = {**guest.environ, "TERM": "no-such-terminal"}
    with terminal(argv, cwd=guest.home, environ=strange, socket=tmp_path / "outer") as window:
        screen = window.wait_for("waiting", deadline_s=_DEADLINE_S)
        assert screen.rstrip().splitlines()[-1].split() == ["night", "Ctrl-B", "d", "detaches"]
        assert within(lambda: guest.sessions()["night"].attached) == 1
        go.touch()
        window.wait_for("back at home", deadline_s=_DEADLINE_S)
    assert guest.sessions()["night"].status == 3
    assert "the end" in guest.shows("night", "the end")


def test_killing_a_session_ends_what_it_started_in_sessions_of_their_own(guest: Guest) -> None:
    deaf = "setsid bash -c 'trap \"\" HUP TERM; echo inner $$; while :; do sleep 0.1; done' & wait"
    assert guest.start("night", deaf) == 0
    assert guest.start("day", "sleep 60") == 0
    inner = int(guest.shows("night", "inner").split()[1])
    assert process.start_time(inner) is not None
    assert guest.run(multiplexer.kill_command("night")).returncode == 0
    within(lambda: process.start_time(inner) is None)
    assert sorted(guest.sessions()) == ["day"]
    assert guest.run(multiplexer.kill_command("night")).returncode == 0


def test_following_tells_what_settles_and_ends_with_the_program(guest: Guest) -> None:
    turning = (
        "for i in 1 2 3 4 5 6 7 8; do printf '\\rturn %s' $i; sleep 0.2; done; echo; echo done"
    )
    assert guest.start("night", f"echo begin; {turning}; sleep 1.5") == 0
    done = guest.run(multiplexer.follow_command("night"))
    frames, news, told = Frames(), News(), list[str]()
    for frame in frames.take(done.stdout.split("\n")):
        told += news.take(frame)
    assert [line for line in told if "dead" not in line] == ["begin", "turn 8", "done"]
    assert done.returncode == 0
    assert guest.run(multiplexer.follow_command("gone")).stdout == ""
