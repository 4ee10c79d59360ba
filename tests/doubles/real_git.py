"""Real repositories for tests, made with the real git."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def git(directory: Path, *arguments: str) -> str:
    """Run git as its user would, without hooks of the machine's own, and give what it says."""
    done = subprocess.run(
        ["git", "-c", "protocol.file.allow=always", *arguments],
        cwd=directory,
        env={**os.environ, "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C.UTF-8"},
        check=True,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=30,
    )
    return done.stdout.decode("utf-8", "surrogateescape").strip()


def new_repository(path: Path, *, branch: str = "main", commits: bool = True) -> Path:
    """Make a repository with one commit of one file, or none at all."""
    path.mkdir(parents=True)
    git(path, "init", "-q", "-b", branch)
    git(path, "config", "user.name", "Motoko Kusanagi")
    git(path, "config", "user.email", "motoko@section9.example")
    if commits:
        commit(path, "README", "hello\n")
    return path


def commit(path: Path, name: str, text: str) -> str:
    """Commit a file and give the commit id."""
    (path / name).write_text(text, encoding="utf-8")
    git(path, "add", name)
    git(path, "commit", "-q", "-m", f"Change {name}")
    return git(path, "rev-parse", "HEAD")
