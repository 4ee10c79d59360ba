"""A server, a relay and two daemons, each a process of its own, and tasks through all of them."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

pytestmark = [pytest.mark.live, pytest.mark.timeout(120)]
_RUN_S = 60
_UP_S = 30


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def run(*words: str, cwd: Path, env: Mapping[str, str]) -> str:
    argv = [sys.executable, "-m", "tachikoma", *words]
    done = subprocess.run(
        argv, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=_RUN_S
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextlib.contextmanager
def started(*words: str, log: Path, env: Mapping[str, str]) -> Iterator[None]:
    argv = [sys.executable, "-m", "tachikoma", *words]
    with (
        log.open("ab") as file,
        subprocess.Popen(argv, cwd=log.parent, env=env, stdout=file, stderr=file) as process,
    ):
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(_UP_S)
            finally:
                process.kill()


def up(port: int) -> None:
    end = time.monotonic() + _UP_S
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise AssertionError(f"nobody listens on {port}")


def test_tasks_go_through_server_and_relay_to_both_daemons(own_home: Path, tmp_path: Path) -> None:
    claude, repo = tmp_path / "claude", tmp_path / "app"
    claude.write_text(f"#!/bin/sh\nexec {sys.executable} {ROOT}/tests/doubles/claude_code.py\n")
    claude.chmod(0o755)
    environ = {"HOME": str(own_home), "PATH": os.environ["PATH"]}
    (own_home / ".gitconfig").write_text("[user]\nname = Ada\nemail = ada@example.org\n")
    subprocess.run(["git", "init", "-q", "-b", "main", str(repo)], env=environ, check=True)
    first = ["git", "-C", str(repo), "commit", "-q", "--allow-empty", "-m", "First"]
    subprocess.run(first, env=environ, check=True)

    def key(*words: str) -> str:
        told = run("makima", "keys", "create", *words, "--json", cwd=own_home, env=environ)
        return str(json.loads(told)["data"]["key"])

    at, through = free_port(), free_port()
    mine, theirs = key("ada"), key("fleet", "--daemon")
    relay = environ | {"MAKIMA_SERVER_URL": f"ws://127.0.0.1:{at}", "MAKIMA_API_KEY": theirs}
    person = environ | {"MAKIMA_API_URL": f"http://127.0.0.1:{at}", "MAKIMA_API_KEY": mine}

    def daemon(name: str) -> dict[str, str]:
        place = tmp_path / name
        return environ | {
            "MAKIMA_API_KEY": theirs,
            "MAKIMA_DAEMON_SERVER_URL": f"ws://127.0.0.1:{through}",
            "MAKIMA_DAEMON_PROCESS_ISOLATION": "worktree",
            "MAKIMA_DAEMON_PROCESS_CLAUDECOMMAND": str(claude),
            "MAKIMA_DAEMON_PROCESS_MAXCONCURRENTTASKS": "2",
            "MAKIMA_DAEMON_WORKTREE_BASEDIR": str(place / "worktrees"),
            "MAKIMA_DAEMON_WORKTREE_REPOSDIR": str(place / "repos"),
            "MAKIMA_DAEMON_LOCALDB_PATH": str(place / "daemon.db"),
        }

    def tasks(name: str) -> list[Any]:
        told = run("makima", "tasks", "--all", "--json", cwd=own_home, env=daemon(name))
        return list(json.loads(told)["data"]["tasks"])

    with contextlib.ExitStack() as stack:
        for words, port, env in (
            (("makima", "server", "--port", str(at)), at, environ),
            (("makima", "relay", "--port", str(through)), through, relay),
        ):
            stack.enter_context(started(*words, log=tmp_path / f"{words[1]}.log", env=env))
            up(port)
        for name in ("one", "two"):
            log = tmp_path / f"{name}.log"
            stack.enter_context(started("makima", "daemon", log=log, env=daemon(name)))
        made = [
            json.loads(
                run("task", "run", f"write {n}.txt {n}\nsleep 3", "--json", cwd=repo, env=person)
            )["data"]["task"]["id"]
            for n in range(4)
        ]
        for task in made:
            assert "done" in run("task", "logs", task, "-f", cwd=repo, env=person)
        branches = subprocess.run(
            ["git", "-C", str(repo), "branch", "--list", "makima/*"],
            env=environ,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split()
        assert len(branches) == len(made)
    assert [len(tasks(name)) for name in ("one", "two")] == [2, 2]
    assert all(each["status"] == "done" for name in ("one", "two") for each in tasks(name))
