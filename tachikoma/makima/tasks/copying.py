"""Copying what a task asks for from its parent's worktree, and nothing from anywhere else."""

from __future__ import annotations

import posixpath
import stat
from collections.abc import Sequence
from pathlib import Path

from tachikoma.host import inside
from tachikoma.model.errors_fleet import WorkspaceError

_GIT = ".git"


def copy_files(source: Path, target: Path, paths: Sequence[str]) -> None:
    """Copy files and directories from one worktree to the same places in another.

    A symbolic link is copied as one if it stays within the worktree. Everything is looked at
    before the first byte is copied.

    Raises:
        WorkspaceError: a path is missing, or leads out of the worktree; nothing is copied.
    """
    if source.resolve() == target.resolve():
        return
    found = [parts for path in paths for parts in _found(source, path)]
    for parts in found:
        inside.copy(source, target, parts)


def parts_of(path: str) -> tuple[str, ...]:
    """Take a relative path apart (pure).

    Raises:
        WorkspaceError: it is absolute, leads upward, or to git's own files.
    """
    parts = tuple(part for part in path.split("/") if part not in ("", "."))
    if path.startswith(("/", "~")) or "\\" in path or "\0" in path or not parts:
        raise _refused(path, "copyFiles takes paths relative to the parent task's worktree")
    if ".." in parts:
        raise _refused(path, "it leads out of the worktree")
    if any(part.casefold() == _GIT for part in parts):
        raise _refused(path, "git's own files are not copied")
    return parts


def _found(source: Path, path: str) -> list[tuple[str, ...]]:
    try:
        return [parts for parts, kind in _walked(source, path)]
    except FileNotFoundError as error:
        raise WorkspaceError(
            f"the parent task's worktree has no {path}, which copyFiles names",
            hint=f"look what is in {source}",
        ) from error
    except OSError as error:
        raise _refused(path, "a symbolic link stands in the way") from error


def _walked(source: Path, path: str) -> list[tuple[tuple[str, ...], int]]:
    found = list(inside.walk(source, parts_of(path)))
    for parts, kind in found:
        if any(part.casefold() == _GIT for part in parts):
            raise _refused("/".join(parts), "git's own files are not copied")
        if kind == stat.S_IFLNK and leads_out(parts, inside.link_target(source, parts)):
            raise _refused("/".join(parts), "it is a symbolic link that leads out of the worktree")
        if kind not in (stat.S_IFLNK, stat.S_IFREG, stat.S_IFDIR):
            raise _refused("/".join(parts), "it is no file, directory or link")
    return found


def leads_out(parts: Sequence[str], said: str) -> bool:
    """Tell whether a link at ``parts`` that says ``said`` leads out of the root (pure)."""
    if said.startswith("/"):
        return True
    reached = posixpath.normpath(posixpath.join(*parts[:-1], said) if parts[:-1] else said)
    return reached.split("/")[0] in ("..", _GIT)


def _refused(path: str, why: str) -> WorkspaceError:
    return WorkspaceError(f"{path!r} is not copied: {why}", hint="correct the task's copyFiles")
