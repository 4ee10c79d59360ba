"""Tasks through a server, a relay and two daemons, on worktrees, with a stand-in for the agent."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.live.makima_chain import DAEMONS, chain

pytestmark = [pytest.mark.live, pytest.mark.timeout(120)]
_TASK_S = 60.0


def test_tasks_go_through_server_and_relay_to_both_daemons(own_home: Path, tmp_path: Path) -> None:
    claude, repo = tmp_path / "claude", tmp_path / "app"
    claude.write_text(f"#!/bin/sh\nexec {sys.executable} {ROOT}/tests/doubles/claude_code.py\n")
    claude.chmod(0o755)
    environ = {"HOME": str(own_home), "PATH": os.environ["PATH"]}
    (own_home / ".gitconfig").write_text("[user]\nname = Ada\nemail = ada@example.org\n")
    subprocess.run(["git", "init", "-q", "-b", "main", str(repo)], env=environ, check=True)
    first = ["git", "-C", str(repo), "commit", "-q", "--allow-empty", "-m", "First"]
    subprocess.run(first, env=environ, check=True)
    settings = {
        "MAKIMA_DAEMON_PROCESS_ISOLATION": "worktree",
        "MAKIMA_DAEMON_PROCESS_CLAUDECOMMAND": str(claude),
        "MAKIMA_DAEMON_PROCESS_MAXCONCURRENTTASKS": "2",
    }
    with chain(tmp_path, repo, environ, settings) as here:
        made = [here.order(f"write {n}.txt {n}\nsleep 3") for n in range(4)]
        for task in made:
            assert "done" in here.follow(task, deadline_s=_TASK_S)
        assert len(here.branches()) == len(made)
        by = {name: here.done_by(name) for name in DAEMONS}
    assert [len(tasks) for tasks in by.values()] == [2, 2]
    assert {each["status"] for tasks in by.values() for each in tasks} == {"done"}
