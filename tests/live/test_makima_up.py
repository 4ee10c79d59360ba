"""A server, a daemon and the real Claude Code on one machine: `tachikoma makima up`."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.live.conftest import User

pytestmark = [pytest.mark.live_qemu, pytest.mark.timeout(400)]
_TASK_S = 240.0

# An orchestrator as the server tells it to be; the words behind its plan are not for the shell.
LEADS = """run: cat > ../lead.py <<'PY'
import json, os, urllib.request
base, me = os.environ["MAKIMA_API_URL"] + "/api/v1/tasks", os.environ["MAKIMA_TASK_ID"]
def call(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": "Bearer " + os.environ["MAKIMA_API_KEY"],
               "Content-Type": "application/json"}
    asked = urllib.request.Request(base + path, data, headers, method=method)
    with urllib.request.urlopen(asked) as answer:
        return json.load(answer)
parts = [call("POST", "", {"plan": "run: echo %s > %s.txt" % (n, n)}) for n in ("one", "two")]
for part in parts:
    assert call("GET", "/%s?waitS=200" % part["id"])["status"] == "done"
for branch in call("GET", "/%s/branches" % me)["items"]:
    started = call("POST", "/%s/merge/start" % me, {"branch": branch["name"]})
    assert started["success"], started
    done = call("POST", "/%s/merge/commit" % me, {"message": "Merge " + branch["name"]})
    assert done["success"], done
print("complete:", call("GET", "/%s/merge/check" % me)["canComplete"])
PY
python3 ../lead.py; exit $?"""


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


def test_an_orchestrator_leads_subtasks_by_the_servers_api(
    live_user: User, claude_code: Path
) -> None:
    path = f"{claude_code.parent}:{os.environ['PATH']}"
    settings = {"MAKIMA_DAEMON_PROCESS_ISOLATION": "worktree", "IS_SANDBOX": "1"}  # may be root
    with up(live_user, PATH=path, **settings) as at:
        out = at("task", "run", LEADS, "--orchestrator", "--branch", "main", "--follow")
        assert "complete: True" in out
        tasks = live_user.run("task", "list", "--json").json["data"]["tasks"]
        assert [task["status"] for task in tasks] == ["done"] * 3
    assert git(live_user, "show", "main:one.txt", "main:two.txt") == "one\ntwo"
