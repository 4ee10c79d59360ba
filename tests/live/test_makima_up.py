"""A server, a daemon and the real Claude Code on one machine: `tachikoma makima up`."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.live.conftest import User

pytestmark = [pytest.mark.live_qemu, pytest.mark.timeout(400)]
_TASK_S = 240.0


@contextmanager
def up(user: User, **settings: str) -> Iterator[Callable[..., str]]:
    """Bring everything up; gives what runs a command in a repository on a branch aside."""
    repo = user.repository()
    user.run_any("git", "-C", str(repo), "checkout", "-q", "-b", "aside")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    user.run("makima", "up", "--port", port, env=settings)

    def at(*words: str) -> str:
        return user.run(*words, cwd=repo, env=settings, deadline_s=_TASK_S).stdout

    try:
        yield at
    finally:
        user.run("makima", "down", status=None)


def git(user: User, *words: str) -> str:
    return user.run_any("git", "-C", str(user.home / "app"), *words).stdout.strip()


def test_a_task_is_done_in_a_vm_and_merged(live_user: User) -> None:
    with up(live_user, MAKIMA_DAEMON_PROCESS_ISOLATION="vm") as at:
        out = at("task", "run", "run: hostname > where.txt", "--branch", "main", "--follow")
        assert "done" in out.splitlines()
        task = live_user.run("task", "list", "--json").json["data"]["tasks"][0]
        assert task["actionOutcome"]["success"] is True
        assert task["figures"]["turns"] >= 1
        assert live_user.run("list", "--json").json["data"]["vms"] == []
    assert git(live_user, "show", "main:where.txt") == f"makima-task-{task['id'][:8]}"
    log = (live_user.home / ".config" / "tachikoma" / "logs" / "daemon.log").read_text()
    assert live_user.secret not in log
