"""A server, a relay and two daemons, each a process of its own."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DAEMONS = ("one", "two")
_UP_S = 30


@dataclass(frozen=True)
class Chain:
    """All of them at work, on what is in ``place``; a person is somebody in ``repository``."""

    place: Path
    repository: Path
    environ: Mapping[str, str]
    person: Mapping[str, str]
    daemons: Mapping[str, Mapping[str, str]]

    def order(self, plan: str) -> str:
        """Have a task done; gives its id."""
        told = _run("task", "run", plan, "--json", cwd=self.repository, env=self.person)
        return str(json.loads(told)["data"]["task"]["id"])

    def follow(self, task: str, *, deadline_s: float) -> str:
        """Give what is shown of a task until it has ended."""
        argv = ("task", "logs", task, "-f")
        return _run(*argv, cwd=self.repository, env=self.person, deadline_s=deadline_s)

    def done_by(self, daemon: str) -> list[Any]:
        """Give the tasks that a daemon has had."""
        argv = ("makima", "tasks", "--all", "--json")
        told = _run(*argv, cwd=self.place, env=self.daemons[daemon])
        return list(json.loads(told)["data"]["tasks"])

    def branches(self) -> list[str]:
        """Give the branches that tasks have left in the repository."""
        argv = ["git", "-C", str(self.repository), "branch", "--format=%(refname:short)"]
        done = subprocess.run(argv, env=self.environ, check=True, capture_output=True, text=True)
        return [name for name in done.stdout.split() if name.startswith("makima/")]


@contextlib.contextmanager
def chain(
    place: Path, repository: Path, environ: Mapping[str, str], settings: Mapping[str, str]
) -> Iterator[Chain]:
    """Start everything for the user of ``environ``; ``settings`` are variables of both daemons."""

    def key(*words: str) -> str:
        told = _run("makima", "keys", "create", *words, "--json", cwd=place, env=environ)
        return str(json.loads(told)["data"]["key"])

    at, through = _free_port(), _free_port()
    mine, theirs = key("ada"), key("fleet", "--daemon")
    relay = {"MAKIMA_SERVER_URL": f"ws://127.0.0.1:{at}", "MAKIMA_API_KEY": theirs}
    daemons = {
        name: {
            **environ,
            "MAKIMA_API_KEY": theirs,
            "MAKIMA_DAEMON_SERVER_URL": f"ws://127.0.0.1:{through}",
            "MAKIMA_DAEMON_WORKTREE_BASEDIR": str(place / name / "worktrees"),
            "MAKIMA_DAEMON_WORKTREE_REPOSDIR": str(place / name / "repos"),
            "MAKIMA_DAEMON_LOCALDB_PATH": str(place / name / "daemon.db"),
            **settings,
        }
        for name in DAEMONS
    }
    person = {"MAKIMA_API_URL": f"http://127.0.0.1:{at}", "MAKIMA_API_KEY": mine}
    with contextlib.ExitStack() as stack:
        for words, port, env in (
            (("makima", "server", "--port", str(at)), at, environ),
            (("makima", "relay", "--port", str(through)), through, {**environ, **relay}),
        ):
            stack.enter_context(_started(words, log=place / f"{words[1]}.log", env=env))
            _wait_for(port)
        for name, env in daemons.items():
            log = place / f"{name}.log"
            stack.enter_context(_started(("makima", "daemon"), log=log, env=env))
        yield Chain(place, repository, environ, {**environ, **person}, daemons)


def _run(*words: str, cwd: Path, env: Mapping[str, str], deadline_s: float = 60) -> str:
    argv = [sys.executable, "-m", "tachikoma", *words]
    done = subprocess.run(
        argv, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=deadline_s
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextlib.contextmanager
def _started(words: Sequence[str], *, log: Path, env: Mapping[str, str]) -> Iterator[None]:
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


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def _wait_for(port: int) -> None:
    end = time.monotonic() + _UP_S
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise AssertionError(f"nobody listens on {port}")
