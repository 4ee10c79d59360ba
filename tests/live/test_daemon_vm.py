"""A background session in a real VM, with the real Claude Code, as a person meets it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.conftest import User
from tests.live.terminal import Terminal, terminal

pytestmark = pytest.mark.live_qemu

BRANCH = "feature/night"
VM = "tachikoma-app-feature-night"
_TURN_S = 120.0
_ATTACH_S = 30.0


def status(user: User) -> Any:
    return user.run("daemon", "--json").json["data"]


def attached(user: User, name: str, place: Path) -> Any:
    return terminal(
        user.argv("daemon", "attach", name),
        cwd=user.home,
        environ=user.environ,
        socket=place,
    )


def detach(window: Terminal) -> None:
    window._tmux("send-keys", "C-b", "d")


@pytest.fixture
def supervised(live_user: User) -> Iterator[User]:
    """A user whose supervisor is stopped in the end, whatever happens."""
    try:
        yield live_user
    finally:
        live_user.run("daemon", "stop", status=None)


def test_a_session_outlives_terminals_and_the_supervisor(supervised: User, tmp_path: Path) -> None:
    user, repository = supervised, supervised.repository()
    worktree = repository.parent / "app-feature-night"
    supervisor = user.run("daemon", "start", "-b", "--json").json["data"]["pid"]
    prompt = "run: echo by-$((40+2)) > night.txt && cat night.txt"
    started = user.run("daemon", "bg", BRANCH, prompt, "--json", cwd=repository).json["data"]
    assert (started["name"], started["vm"]) == ("feature-night", VM)

    with user.started("daemon", "logs", "feature-night", "-f") as follower:
        told = until_told(follower, b"by-42")
        assert b"run: echo by-" in told
        assert b"\x1b" not in told
        assert (worktree / "night.txt").read_text() == "by-42\n"
        with attached(user, "feature", tmp_path / "one") as window:
            screen = window.wait_for("by-42", deadline_s=_ATTACH_S)
            assert screen.rstrip().splitlines()[-1].split() == [
                "feature-night",
                "Ctrl-B",
                "d",
                "detaches",
            ]
            with attached(user, "feature-night", tmp_path / "two") as second:
                second.wait_for("by-42", deadline_s=_ATTACH_S)
                (session,) = status(user)["sessions"]
                assert (session["state"], session["attached"]) == ("running", 2)
                detach(second)
            os.kill(supervisor, signal.SIGKILL)
            detach(window)

        user.run("daemon", "start", "-b")
        with attached(user, BRANCH, tmp_path / "three") as window:
            window.wait_for("by-42", deadline_s=_ATTACH_S)
            detach(window)
        shown = user.run("daemon", "logs", "feature-night").stdout
        assert "by-42" in shown
        assert "\x1b" not in shown
        killed = user.run("daemon", "kill", "feature-night").stdout
        assert killed == "feature-night has been ended\n"
        assert follower.wait(timeout=_ATTACH_S) == 0

    assert status(user)["sessions"] == []
    left = user.run("exec", BRANCH, "--", "ps", "-eo", "comm=", cwd=repository).stdout.split()
    assert not {"claude", "tmux:"} & set(left)
    assert user.run("daemon", "attach", BRANCH, status=1).stderr.startswith(
        "error: there is no session 'feature/night'"
    )


def until_told(process: subprocess.Popen[bytes], text: bytes) -> bytes:
    """Read what a process says until ``text`` is in it."""
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    told, end = b"", time.monotonic() + _TURN_S
    while text not in told:
        assert time.monotonic() < end, told.decode("utf-8", "replace")
        told += process.stdout.read() or b""
        time.sleep(0.05)
    return told
