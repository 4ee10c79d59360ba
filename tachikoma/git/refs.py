"""Commits and branches of a repository that a guest writes to, by its git directory alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tachikoma.git import invocation

NOTHING = "0" * 40
"""What git takes for the old value of a ref that must not be there."""


async def commit_of(git_dir: Path, name: str) -> str:
    """Give the id of the commit that ``name`` stands for; "" if it is not here."""
    if "\0" in name:
        return ""
    done = await invocation.git(
        ["rev-parse", "--quiet", "--verify", "--end-of-options", f"{name}^{{commit}}"],
        cwd=git_dir,
        git_dir=git_dir,
        accepted=(0, 1, 128),
    )
    return done.text if done.status == 0 else ""


async def contains(git_dir: Path, commit: str, other: str) -> bool:
    """Tell whether ``commit`` is ``other`` or came after it."""
    done = await invocation.git(
        ["merge-base", "--is-ancestor", other, commit],
        cwd=git_dir,
        git_dir=git_dir,
        accepted=(0, 1),
    )
    return done.status == 0


async def move(git_dir: Path, ref: str, new: str, old: str) -> None:
    """Let ``ref`` point to ``new`` if it is at ``old`` ("" not there).

    Raises:
        GitError: it has moved meanwhile.
    """
    await invocation.git(
        ["update-ref", "-m", "tachikoma", ref, new, old or NOTHING], cwd=git_dir, git_dir=git_dir
    )


async def branches(
    git_dir: Path, under: Sequence[str] = ("refs/heads/",), *, objects: Path | None = None
) -> dict[str, str]:
    """Give refs by their full names with what they are at, sorted by name.

    ``objects`` is where the objects are, if not in ``git_dir``.
    """
    done = await invocation.git(
        ["for-each-ref", "--format=%(objectname) %(refname)", *under],
        cwd=git_dir,
        git_dir=git_dir,
        env={"GIT_OBJECT_DIRECTORY": str(objects)} if objects else None,
    )
    pairs = (line.partition(" ")[::2] for line in done.text.splitlines())
    return dict(sorted((ref, commit) for commit, ref in pairs))


async def subject(git_dir: Path, commit: str) -> str:
    """Give the first line of a commit's message."""
    done = await invocation.git(
        ["log", "-1", "--no-show-signature", "--no-color", "--format=%s", commit, "--"],
        cwd=git_dir,
        git_dir=git_dir,
    )
    return done.text
