"""What is left when a daemon is killed in the middle of its work with git: nothing half-done."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tachikoma.makima.record import Workspace
from tachikoma.makima.tasks.merging import Merging
from tests.conftest import ROOT
from tests.doubles.real_git import commit, git
from tests.doubles.task_bench import FIRST, SECOND, Bench, work

pytestmark = [pytest.mark.live, pytest.mark.timeout(120)]

FILES = 300


def killed(bench: Bench, step: str, after_s: float) -> bool:
    """Run a step and kill it, with every git that it started; tell whether it was still at work.

    Nothing counts before it has begun: to kill Python's own start proves nothing.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.live.makima_steps", str(bench.base), step],
        cwd=ROOT,
        env=dict(os.environ),
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout
    with process.stdout as output:
        assert output.readline() == b"begun\n"
    try:
        process.wait(after_s)
    except subprocess.TimeoutExpired:
        for pid in children(process.pid):
            with contextlib.suppress(ProcessLookupError):  # it has ended by itself meanwhile
                os.kill(pid, signal.SIGKILL)
        process.kill()
        process.wait(10)
        return True
    return False


def children(pid: int) -> list[int]:
    """Give a process and those below it, itself first."""
    found = [pid]
    for each in found:
        listed = Path(f"/proc/{each}/task/{each}/children")
        with contextlib.suppress(OSError):
            found += [int(word) for word in listed.read_text().split()]
    return found


def chances(count: int, longest_s: float) -> list[float]:
    """Give moments to kill a step at: the first so soon that no machine is done by then."""
    dice = random.Random(7)
    return [0.0, *(dice.uniform(0, longest_s) for _ in range(count - 1))]


@pytest.fixture
async def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path.resolve())
    for number in range(FILES):
        (made.hub / f"file {number}").write_text(f"{number}\n" * 200)
    git(made.hub, "add", ".")
    git(made.hub, "commit", "-q", "-m", "many")
    return made


async def test_a_clone_and_worktree_are_whole_after_any_number_of_kills(bench: Bench) -> None:
    hits = 0
    for after_s in chances(8, 0.5):
        hits += killed(bench, "prepare", after_s)
    assert hits >= 1
    made = await bench.prepare()
    assert git(made.worktree, "status", "--porcelain") == ""
    assert git(made.worktree, "rev-parse", "HEAD") == git(bench.hub, "rev-parse", "HEAD")
    assert git(made.repository, "fsck") == ""
    assert sorted(path.name for path in bench.repos.iterdir()) == [".host", "hub"]
    assert sorted(path.name for path in bench.trees.iterdir()) == [".claims", "task-11111111"]


async def at_odds(bench: Bench) -> tuple[Workspace, Workspace]:
    """Prepare an orchestrator and a subtask with many changes and one conflict."""
    lead, side = await bench.prepare(FIRST), await bench.prepare(SECOND)
    for number in range(0, FILES, 2):
        (side.worktree / f"file {number}").write_text("side\n")
        (side.worktree / f"new {number}").write_text("new\n")
    git(side.worktree, "add", ".")
    work(side, "code", "theirs\n")
    work(lead, "code", "ours\n")
    return lead, side


async def test_a_merge_goes_on_after_a_kill_at_any_point(bench: Bench) -> None:
    lead, side = await at_odds(bench)
    merging = Merging(identity=bench.workspaces.identity)
    hits = 0
    for after_s in chances(5, 0.4):
        hits += killed(bench, "start", after_s)
    assert hits >= 1
    started = await merging.start(lead, side.branch)
    assert started.conflicts == ("code",), started
    for after_s in chances(3, 0.3):
        killed(bench, "resolve", after_s)
    resolved = await merging.resolve(lead, "code", "theirs")
    assert resolved.success or "not in conflict" in resolved.message
    for after_s in chances(3, 0.3):
        killed(bench, "commit", after_s)
    committed = await merging.commit(lead, "Merged")
    assert committed.success or committed.message == "no merge is in progress"
    assert git(lead.worktree, "log", "-1", "--format=%s") == "Merged"
    assert git(lead.worktree, "status", "--porcelain") == ""
    assert git(lead.worktree, "diff", "HEAD", side.branch) == ""


async def test_a_users_repository_is_old_or_new_after_a_kill(bench: Bench) -> None:
    lead, side = await at_odds(bench)
    git(lead.worktree, "merge", "-q", "-X", "theirs", "--no-edit", side.branch)
    git(bench.base, "clone", "-q", str(bench.hub), "user")
    user = bench.base / "user"
    git(user, "config", "user.name", "Ada")
    git(user, "config", "user.email", "ada@example.org")
    old = commit(user, "his", "x")
    hits = 0
    for after_s in chances(6, 0.8):
        hits += killed(bench, "act", after_s)
        if git(user, "rev-parse", "main") != old:
            break
    assert hits >= 1
    deadline = time.monotonic() + 30
    while killed(bench, "act", 20):
        assert time.monotonic() < deadline
    if git(user, "rev-parse", "main") == old:
        # A file was half written: it counts as the user's, who is told, and clears it away.
        assert git(user, "status", "--porcelain") != ""
        git(user, "reset", "-q", "--hard")
        git(user, "clean", "-qfd")
        assert not killed(bench, "act", 20)
    assert git(user, "rev-parse", "main^1") == old
    assert git(user, "rev-parse", "main^2") == git(lead.worktree, "rev-parse", "HEAD")
    assert git(user, "status", "--porcelain") == ""
    assert git(user, "fsck", "--no-dangling") == ""
    assert list((bench.repos / ".host").glob("quarantine-*")) == []
