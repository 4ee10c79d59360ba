"""The life of a branch's VM, driven by the real command as a user drives it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.live.conftest import User

pytestmark = pytest.mark.live_qemu

BRANCH = "feature/life"
NAME = "tachikoma-app-feature-life"


def spawn(user: User, repository: Path) -> str:
    answer = user.run("spawn", BRANCH, "--json", cwd=repository).json
    assert (answer["ok"], answer["data"]["name"]) == (True, NAME)
    return str(answer["data"]["how"])


def in_vm(user: User, repository: Path, *command: str, status: int = 0) -> str:
    return user.run("exec", BRANCH, "--", *command, cwd=repository, status=status).stdout


def git_works(user: User, repository: Path, worktree: Path, subject: str) -> None:
    """Status, branch and commit in the VM, seen by the host's git."""
    (worktree / "from-host").write_text(subject)
    look = "git status --porcelain; git branch --show-current"
    commit = f"git add -A && git commit -q -m {subject}; git status --porcelain"
    told = in_vm(user, repository, "sh", "-c", f"{look}; {commit}")
    assert told == f"?? from-host\n{BRANCH}\n"
    told = user.run_any("git", "-C", str(worktree), "log", "-1", "--format=%an %s").stdout
    assert told.strip() == f"A. User {subject}"
    assert user.run_any("git", "-C", str(worktree), "status", "--porcelain").stdout == ""


def test_a_vm_is_made_reconnected_and_destroyed(live_user: User) -> None:
    user = live_user
    repository = user.repository()
    worktree = repository.parent / "app-feature-life"

    assert spawn(user, repository) == "created"
    link = (worktree / ".git").read_bytes()
    git_works(user, repository, worktree, "made")
    assert spawn(user, repository) == "reconnected"

    assert in_vm(user, repository, "printf", "%s|", "a b", "", "$HOME", "ü'\"\n") == (
        "a b||$HOME|ü'\"\n|"
    )
    ended = user.run(
        "exec", BRANCH, "--", "sh", "-c", "cat; pwd; hostname; echo no >&2; exit 42",
        cwd=repository, stdin=b"in\n", status=42,
    )  # fmt: skip
    assert (ended.stdout, ended.stderr) == (f"in\n{worktree}\nfeature-life\n", "no\n")

    assert (worktree / ".git").read_bytes() == link
    assert {each.stat().st_uid for each in worktree.rglob("*")} == {os.geteuid()}

    user.run("destroy", BRANCH, "--yes", cwd=repository)
    assert user.run("list", "--json").json["data"]["vms"] == []
    branches = user.run_any("git", "-C", str(repository), "branch", "--list", BRANCH).stdout
    assert branches.split()[-1] == BRANCH
    assert worktree.is_dir()
