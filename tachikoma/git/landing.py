"""Bringing a commit to a branch of the user's own repository, and to its files where the branch is
checked out. Either all of it happens, or the repository is as it was.

The files come from agents. So no hook of the repository runs (many repositories keep their hooks
among their files), and its configuration is not read: a repository in which VMs were spawned has
one that guests write to, too.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
from collections.abc import AsyncIterator
from pathlib import Path

from tachikoma.git import invocation, worktrees
from tachikoma.git.linked import Admin, Linked, opened_at
from tachikoma.git.port import Repository
from tachikoma.git.quarantine import Quarantine
from tachikoma.host import process
from tachikoma.model.errors import GitError

_UNDER_WAY = ("MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "rebase-merge", "rebase-apply")
_LOCK = "index.lock"
_OURS = "tachikoma is bringing in a commit\n"
_SHOWN = 10
_IN_THE_WAY = re.compile(r"^error: .*?'(.+)'.* would be ", re.MULTILINE)
_FILTERS = r"^filter\..*\.(smudge|process)$"


async def land(
    held: Quarantine, target: Repository, worktree: Path | None, *, branch: str, old: str, new: str
) -> None:
    """Move ``branch`` from ``old`` to ``new``, which contains it, with the files of ``worktree``,
    where it is checked out. To be called for one commit of a repository at a time; repeatable.

    Raises:
        GitError: there are changes of the user's in the way, something is under way there, or
            the branch has moved meanwhile.
    """
    if worktree is None:
        await held.hand_over(new, branch, old=old)
        return
    admin = _admin(target, worktree)
    await _refuse_own_filters(target, worktree)
    async with opened_at(target.git_dir, worktree, admin) as tree:
        tree.keep_new_objects_in(held.objects)
        begun = await _check(tree, old, new)
        async with _locked(tree):
            if begun:
                await tree.fill(new)
            else:
                await tree.git(["read-tree", "-m", "-u", old, new])
            try:
                await held.hand_over(new, branch, old=old)
            except BaseException:
                await tree.git(["read-tree", "-m", "-u", new, old])
                raise
            tree.put_back_index()


async def finish(target: Repository, worktree: Path | None, *, commit: str) -> None:
    """Do what is left of a ``land`` that was killed after its branch was at ``commit``: the files
    are there, the index may be the old one, and is locked. Does nothing to any other.
    """
    if worktree is None:
        return
    async with opened_at(target.git_dir, worktree, _admin(target, worktree)) as tree:
        if tree.read(_LOCK) != _OURS:
            return
        await tree.git(["read-tree", "--reset", commit])
        await tree.git(["update-index", "-q", "--refresh"], accepted=(0, 1))
        tree.put_back_index()
        tree.remove(_LOCK)


def _admin(target: Repository, worktree: Path) -> Admin:
    own = worktrees.git_dir_of(worktree)
    return () if own is None or own == target.git_dir else ("worktrees", own.name)


async def _check(tree: Linked, old: str, new: str) -> bool:
    """Tell whether an earlier attempt was killed on its way, so that files are new already.

    Raises:
        GitError: what the user has there is in the way. Nothing has changed.
    """
    under_way = [name for name in _UNDER_WAY if tree.has(name)]
    if under_way:
        raise GitError(
            f"something is under way in {tree.path} ({under_way[0]})",
            hint="finish or abort it, then run the action again",
        )
    if tree.has(_LOCK) and tree.read(_LOCK) != _OURS:
        raise GitError(
            f"git is at work in {tree.path}: there is an index.lock",
            hint="wait for it; if it was killed, remove that file, then run the action again",
        )
    await tree.git(["update-index", "-q", "--refresh"], accepted=(0, 1))
    changed = await tree.tracked_changes(old)
    if changed:
        await _refuse_changes_of_the_user(tree, changed, old, new)
        return True
    done = await tree.git(["read-tree", "-m", "-u", "-n", old, new], accepted=(0, 128))
    if done.status != 0:
        said = invocation.words_of(done)
        raise GitError(
            f"files in {tree.path} that git does not know are in the way: {_listed(_named(said))}",
            hint="move them away, then run the action again",
            details=said,
        )
    return False


async def _refuse_changes_of_the_user(
    tree: Linked, changed: tuple[str, ...], old: str, new: str
) -> None:
    """Raise GitError unless each changed file is as the new commit has it."""
    staged = await tree.git(["diff-index", "--cached", "--name-only", "-z", old])
    of_new, not_as_new = await _compared(tree, new)
    of_old, _ = await _compared(tree, old)
    # Different from both, or to be removed and not as it was, or new and something else there.
    of_the_user = not_as_new & set(changed) | set(changed) - of_new | not_as_new - of_old
    there = sorted(path for path in of_the_user if os.path.lexists(tree.path / path))
    # Git removes a file before it writes the new one.
    done = await tree.git(["diff-tree", "-r", "-z", "--name-only", old, new])
    gone = (not_as_new & set(changed)) - set(there) - set(done.text.split("\0"))
    if staged.text or there or gone:
        raise GitError(
            f"{tree.path} has local changes: {_listed(there or sorted(gone) or list(changed))}",
            hint="commit or stash them, then run the action again",
        )


async def _compared(tree: Linked, commit: str) -> tuple[set[str], set[str]]:
    """Give the files of ``commit``, and those of them that are not so in the worktree. The index
    is then that of ``commit``.
    """
    await tree.git(["read-tree", commit])
    await tree.git(["update-index", "-q", "--refresh"], accepted=(0, 1))
    known = await tree.git(["ls-files", "-z"])
    other = await tree.git(["ls-files", "-z", "--modified", "--deleted"])
    return set(known.text.split("\0")) - {""}, set(other.text.split("\0")) - {""}


@contextlib.asynccontextmanager
async def _locked(tree: Linked) -> AsyncIterator[None]:
    """Keep git itself from changing the index meanwhile, as git does."""
    tree.remove(_LOCK)  # of ours, if any: `_check` has seen to that
    tree.create(_LOCK, _OURS)
    try:
        yield
    finally:
        tree.remove(_LOCK)


async def _refuse_own_filters(target: Repository, worktree: Path) -> None:
    """Raise GitError if only the repository itself names the programs that its files go through.

    Those are not run, and without them the files would come out wrong.
    """
    done = await invocation.git(
        ["config", "-z", "--show-scope", "--get-regexp", _FILTERS],
        cwd=worktree,
        git_dir=target.git_dir,
        accepted=(0, 1),
    )
    own, users = decode_filters(done)
    if own - users:
        raise GitError(
            f"{worktree} has filters of its own ({', '.join(sorted(own - users))}), "
            "which are not run on what an agent wrote",
            hint=f"switch it to another branch, or merge by hand: "
            f"git -C {shlex.quote(str(worktree))} merge",
        )


def decode_filters(done: process.Completed) -> tuple[set[str], set[str]]:
    """Read which filters the repository names, and which the user's own configuration (pure)."""
    parts = done.stdout.decode("utf-8", "replace").split("\0")
    own, users = set[str](), set[str]()
    for scope, setting in zip(parts[::2], parts[1::2], strict=False):
        key = setting.partition("\n")[0]
        (own if scope in ("local", "worktree") else users).add(key.rpartition(".")[0])
    return own, users


def _named(said: str) -> list[str]:
    listed = [line.strip() for line in said.splitlines() if line.startswith("\t")]
    return listed or _IN_THE_WAY.findall(said) or [invocation.worst(said)]


def _listed(paths: list[str]) -> str:
    return ", ".join(paths[:_SHOWN]) + (", ..." if len(paths) > _SHOWN else "")
