from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.stand import CommandLine

pytestmark = [pytest.mark.live, pytest.mark.timeout(120)]

# What a task says is run: it is the daemon, the server and the commands that are real here.
CLAUDE = """
import json, subprocess, sys
def say(**event): print(json.dumps(event), flush=True)
say(type="system", subtype="init", session_id="s", model="scripted")
for line in sys.stdin:
    message = json.loads(line)
    if message.get("type") != "user":
        continue
    plan = message["message"]["content"].partition("run: ")[2].partition("\\n---")[0]
    ran = subprocess.run(["bash", "-c", plan], capture_output=True, text=True)
    print(ran.stderr, file=sys.stderr, flush=True)
    say(type="result", subtype="success", is_error=ran.returncode != 0,
        result=ran.stdout.strip() or "nothing", num_turns=1, total_cost_usd=0.01,
        usage={"input_tokens": 10, "output_tokens": 20})
"""


@dataclass
class Machine:
    home: Path
    repo: Path
    environ: dict[str, str]
    port: int

    def __call__(self, *words: str, status: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "tachikoma", *words],
            cwd=self.repo,
            env=self.environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=90,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout

    def data(self, *words: str, status: int = 0) -> Any:
        return json.loads(self(*words, "--json", status=status))["data"]

    def git(self, *words: str) -> str:
        done = subprocess.run(
            ["git", *words], cwd=self.repo, env=self.environ, capture_output=True, text=True,
            check=True,
        )  # fmt: skip
        return done.stdout.strip()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@pytest.fixture
def machine(own_home: Path, tmp_path: Path) -> Iterator[Machine]:
    programs, repo = tmp_path / "bin", tmp_path / "repo"
    programs.mkdir()
    repo.mkdir()
    claude = programs / "claude"
    claude.write_text(f"#!{sys.executable}\n{textwrap.dedent(CLAUDE)}")
    claude.chmod(0o755)
    config = own_home / ".config" / "tachikoma"
    config.mkdir(parents=True)
    (config / "config.toml").write_text(f"credential_proxy_port = {free_port()}\n")
    environ = dict(os.environ) | {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "MAKIMA_DAEMON_PROCESS_ISOLATION": "worktree",
        **dict.fromkeys(("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"), "Ada"),
        **dict.fromkeys(("GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"), "ada@example.org"),
    }
    made = Machine(own_home, repo, environ, free_port())
    made.git("init", "-q", "-b", "main")
    (repo / "a.txt").write_text("hi\n")
    made.git("config", "--global", "user.name", "Ada")
    made.git("config", "--global", "user.email", "ada@example.org")
    made.git("add", ".")
    made.git("commit", "-q", "-m", "First")
    made.git("checkout", "-q", "-b", "aside")
    yield made
    made("makima", "down")


# With MAKIMA_API_URL and the key of its own, as the server tells an orchestrator to.
LEADS = """run: python3 - <<'PY'
import json, os, urllib.request
base, me = os.environ["MAKIMA_API_URL"] + "/api/v1/tasks", os.environ["MAKIMA_TASK_ID"]
def call(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": "Bearer " + os.environ["MAKIMA_API_KEY"],
               "Content-Type": "application/json"}
    with urllib.request.urlopen(
        urllib.request.Request(base + path, data, headers, method=method)
    ) as answer:
        return json.load(answer)
parts = [call("POST", "", {"plan": "run: echo %s > %s.txt" % (n, n)}) for n in ("one", "two")]
for part in parts:
    assert call("GET", "/%s?waitS=60" % part["id"])["status"] == "done"
for branch in call("GET", "/%s/branches" % me)["items"]:
    started = call("POST", "/%s/merge/start" % me, {"branch": branch["name"]})
    assert started["success"], started
    done = call("POST", "/%s/merge/commit" % me, {"message": "Merge " + branch["name"]})
    assert done["success"], done
print(call("GET", "/%s/merge/check" % me)["canComplete"])
PY"""


def test_everything_on_one_machine_from_up_to_down(machine: Machine) -> None:
    told = machine("makima", "up", "--port", str(machine.port))
    assert f"http://127.0.0.1:{machine.port}/" in told
    for name in ("user.key", "daemon.key", "server.db"):
        mode = (machine.home / ".makima" / name).stat().st_mode
        assert stat.S_IMODE(mode) == 0o600
    assert machine.data("makima", "up", "--port", str(machine.port))["started"] is False

    out = machine("task", "run", "run: echo made > made.txt", "--branch", "main", "--follow")
    assert "done" in out
    assert machine.git("show", "main:made.txt") == "made"
    machine("task", "run", "run: exit 3", "--follow", status=1)

    task = machine.data("task", "run", LEADS, "--orchestrator", "--branch", "main", "--follow")
    assert task["task"]["result"] == "True", task
    assert task["task"]["subtasks"] == 2
    assert machine.git("show", "main:one.txt", "main:two.txt") == "one\ntwo"

    log = machine.home / ".config" / "tachikoma" / "logs" / "daemon.log"
    for name in ("user.key", "daemon.key"):
        assert (machine.home / ".makima" / name).read_text().strip() not in log.read_text()

    # The server is killed and comes again by itself; a task at work goes on.
    busy = machine.data("task", "run", "run: sleep 4; echo slept")["task"]["id"]
    status = machine.data("daemon", "status")["supervisor"]
    (server,) = (each for each in status["workers"] if each["kind"] == "server")
    os.kill(server["pid"], 9)
    machine("makima", "up", "--port", str(machine.port))  # waits until it is there again
    assert "done" in machine("task", "logs", busy, "-f")


def test_a_port_is_one_that_can_be_named_before(line: CommandLine) -> None:
    assert line("makima", "up", "--port", "0").status == 2
