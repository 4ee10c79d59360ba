"""The life of a branch's VM, driven by the real command as a user drives it."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
from pathlib import Path

import pytest

from tests.live.conftest import User

pytestmark = pytest.mark.live_qemu

BRANCH = "feature/life"
NAME = "tachikoma-app-feature-life"
_MEMORY = 512 << 20


def spawn(user: User, repository: Path) -> str:
    answer = user.run("spawn", BRANCH, "--json", cwd=repository).json
    assert (answer["ok"], answer["data"]["name"]) == (True, NAME)
    return str(answer["data"]["how"])


def in_vm(user: User, repository: Path, *command: str, status: int = 0) -> str:
    return user.run("exec", BRANCH, "--", *command, cwd=repository, status=status).stdout


def git_works(user: User, repository: Path, worktree: Path, subject: str) -> None:
    """Status, branch and commit in the VM, seen by the host's git."""
    assert in_vm(user, repository, "git", "status", "--porcelain") == ""
    assert in_vm(user, repository, "git", "branch", "--show-current").strip() == BRANCH
    (worktree / "from-host").write_text(subject)
    in_vm(user, repository, "git", "add", "-A")
    in_vm(user, repository, "git", "commit", "-q", "-m", subject)
    told = user.run_any("git", "-C", str(worktree), "log", "-1", "--format=%an %s").stdout
    assert told.strip() == f"A. User {subject}"
    assert user.run_any("git", "-C", str(worktree), "status", "--porcelain").stdout == ""


def test_a_vm_is_made_reconnected_halted_started_and_destroyed(live_user: User) -> None:
    user = live_user
    repository = user.repository()
    worktree = repository.parent / "app-feature-life"

    assert spawn(user, repository) == "created"
    link = (worktree / ".git").read_bytes()
    git_works(user, repository, worktree, "made")
    assert spawn(user, repository) == "reconnected"

    assert in_vm(user, repository, "pwd").strip() == str(worktree)
    assert in_vm(user, repository, "hostname").strip() == "feature-life"
    assert in_vm(user, repository, "printf", "%s|", "a b", "", "$HOME", "ü'\"\n") == (
        "a b||$HOME|ü'\"\n|"
    )
    ended = user.run(
        "exec", BRANCH, "--", "sh", "-c", "cat; echo no >&2; exit 42",
        cwd=repository, stdin=b"in\n", status=42,
    )  # fmt: skip
    assert (ended.stdout, ended.stderr) == ("in\n", "no\n")

    user.run("halt", BRANCH, cwd=repository)
    (vm,) = user.run("list", "--json").json["data"]["vms"]
    assert (vm["name"], vm["state"]) == (NAME, "stopped")
    assert spawn(user, repository) == "started"
    git_works(user, repository, worktree, "made again")
    assert (worktree / ".git").read_bytes() == link
    assert {each.stat().st_uid for each in worktree.rglob("*")} == {os.geteuid()}

    user.run("destroy", BRANCH, "--yes", cwd=repository)
    assert user.run("list", "--json").json["data"]["vms"] == []
    branches = user.run_any("git", "-C", str(repository), "branch", "--list", BRANCH).stdout
    assert branches.split()[-1] == BRANCH
    assert worktree.is_dir()


def test_claude_code_works_in_the_vm_and_the_credential_is_nowhere_but_in_the_proxy(
    live_user: User,
) -> None:
    user = live_user
    repository = user.repository()
    worktree = repository.parent / "app-feature-life"
    of_the_host = a_claude_code_that_knows_the_credential(user)
    spawn(user, repository)
    told = user.run(
        "exec", BRANCH, "--", "claude", "--dangerously-skip-permissions", "-p",
        "run: echo by-the-agent > agent.txt && cat agent.txt", cwd=repository,
    )  # fmt: skip
    assert "by-the-agent" in told.stdout
    assert (worktree / "agent.txt").read_text() == "by-the-agent\n"

    calls = [each for each in user.api_requests() if each["method"] == "POST"]
    assert len(calls) > 1
    right = hashlib.sha256(user.secret.encode()).hexdigest()
    assert {each["credential_sha256"] for each in calls} == {right}

    token = in_vm(user, repository, "bash", "-lc", "echo $ANTHROPIC_API_KEY").strip()
    assert token.startswith("tachikoma-")
    memory = memory_of_the_vm(user)
    assert memory.find(token.encode()) >= 0, "the search would not find what is there"
    assert memory.find(user.secret.encode()) < 0
    memory.close()
    assert holders(user, user.secret) == []
    user.run("halt", BRANCH, cwd=repository)
    assert files_with(user, user.secret) == of_the_host
    assert [each.name for each in files_with(user, token)] == ["disk.qcow2"]


def a_claude_code_that_knows_the_credential(user: User) -> list[Path]:
    """Have the credential in every file of the host of which a part goes into a VM."""
    server = {"command": "true", "args": [user.secret]}
    other = {"command": "true", "env": {"ANTHROPIC_API_KEY": user.secret, "MINE": user.secret}}
    rule = f"Bash(curl -H 'x-api-key: {user.secret}' https://api.example:*)"
    files = {
        user.home / ".claude.json": {
            "primaryApiKey": user.secret,
            "mcpServers": {"one": server, "other": other},
        },
        user.home / ".claude" / "settings.json": {
            "env": {"ANTHROPIC_API_KEY": user.secret},
            "permissions": {"allow": [rule]},
            "mcpServers": {"third": other},
        },
    }
    for path, content in files.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
    return sorted(files)


def memory_of_the_vm(user: User) -> mmap.mmap:
    """Give the whole memory of the one VM that runs: page cache, processes and all."""
    (pid,) = (pid for pid, line in user.processes().items() if "qemu-system" in line.split()[0])
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        if "/memfd:" in str(descriptor.readlink()) and descriptor.stat().st_size >= _MEMORY:
            with descriptor.open("rb") as file:
                return mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    raise AssertionError("QEMU has no memory file")


def holders(user: User, text: str) -> list[str]:
    """Which processes of the user show ``text`` in their arguments or environment."""
    found = []
    for pid, line in user.processes().items():
        environ = Path(f"/proc/{pid}/environ").read_bytes()
        if text in line or text.encode() in environ:
            found.append(line)
    return found


def files_with(user: User, text: str) -> list[Path]:
    """Which files of the user hold ``text``: state, logs, disks, keys."""
    return [
        each
        for each in sorted(user.home.parent.rglob("*"))
        if each.is_file()
        and not each.is_symlink()
        and "images" not in each.parts
        and text.encode() in each.read_bytes()
    ]
