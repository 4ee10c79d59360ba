"""What ``git worktree list`` says, and whether it is true (the guest can write its sources)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from tachikoma.git.port import Repository

UNFINISHED = "tachikoma is making this worktree"
"""The reason of the lock that a worktree carries until its files are all there."""

_NO_COMMIT = set("0")


@dataclass(frozen=True, slots=True)
class Entry:
    """One worktree as git lists it. ``lock`` is None, or why it is locked; ``head`` "" if bare."""

    path: Path
    head: str
    branch: str = ""
    bare: bool = False
    lock: str | None = None

    @property
    def unfinished(self) -> bool:
        """Whether it is ours and still being made, or was when its maker was killed."""
        return self.lock == UNFINISHED

    @property
    def unborn(self) -> bool:
        """Whether its branch has no commit yet."""
        return bool(self.head) and set(self.head) == _NO_COMMIT


def decode_list(raw: bytes) -> list[Entry]:
    """Read the answer of ``git worktree list --porcelain -z``; the main one comes first."""
    text = raw.decode("utf-8", "surrogateescape")
    return [_entry(record.split("\0")) for record in text.split("\0\0") if record.strip("\0")]


def _entry(lines: list[str]) -> Entry:
    fields = dict(line.partition(" ")[::2] for line in lines if line)
    return Entry(
        path=Path(fields["worktree"]),
        head=fields.get("HEAD", ""),
        branch=fields.get("branch", "").removeprefix("refs/heads/"),
        bare="bare" in fields,
        lock=fields.get("locked"),
    )


def is_genuine(repository: Repository, path: Path) -> bool:
    """Tell whether the directory ``path`` says itself that it is a worktree of ``repository``.

    The list is made from files that a guest can write; believing it would let one choose a
    directory of the host (``~/.ssh``) to be shared with the next VM. What is in a directory that
    no guest has written to, is true: its ``.git`` must lead back to the repository.
    """
    return git_dir_of(path) in _expected(repository, path)


def git_dir_of(path: Path) -> Path | None:
    """Give the git directory that ``path/.git`` is, or leads to; None if there is none."""
    link = path / ".git"
    try:
        if link.is_dir():
            return link.resolve()
        with link.open("rb") as file:
            first = file.read(8192)
    except OSError:
        return None
    if not first.startswith(b"gitdir: "):
        return None
    target = os.fsdecode(first.removeprefix(b"gitdir: ").split(b"\n")[0])
    return Path(os.path.realpath(path / target))


def _expected(repository: Repository, path: Path) -> list[Path]:
    if path == repository.main_worktree:
        return [repository.git_dir]
    target = git_dir_of(path)
    if target is not None and target.parent == repository.git_dir / "worktrees":
        return [target]
    return []
