"""Filling a new worktree with its files, without the repository's own configuration."""

from __future__ import annotations

from pathlib import Path

from tachikoma.git import invocation
from tachikoma.git.private import private_git_dir

CHECKOUT_S = 1800.0
"""A repository of many gigabytes on a slow disk."""


async def check_out(git_dir: Path, admin: Path, worktree: Path, commit: str) -> None:
    """Write the files of ``commit`` to ``worktree`` and its index to ``admin``. Repeatable.

    ``admin`` is the worktree's directory within the common ``git_dir``.

    Raises:
        DiskFullError, GitError: some files may be there, the next call goes on.
    """
    async with private_git_dir(git_dir, admin, worktree) as private:
        await invocation.git(
            [*private.options, "read-tree", "--reset", "-u", "--no-recurse-submodules", commit],
            cwd=worktree,
            git_dir=private.path,
            env=private.environment,
            deadline_s=CHECKOUT_S,
        )
