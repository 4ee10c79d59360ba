"""Filling a new worktree with its files, without the repository's own configuration.

Checking out runs what ``filter.<name>.smudge`` and ``filter.<name>.process`` say, and a guest
may have written both the name and the program, at any moment. So git gets a private git
directory here: its own configuration with the few settings that are plain data, and the real
objects, index and attributes. Filters of the user's own configuration (git-lfs) keep working.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tachikoma.git import invocation
from tachikoma.host import files, process

CHECKOUT_S = 1800.0
"""A repository of many gigabytes on a slow disk."""

_DATA = (
    "core.autocrlf",
    "core.eol",
    "core.filemode",
    "core.ignorecase",
    "core.precomposeunicode",
    "core.protecthfs",
    "core.protectntfs",
    "core.safecrlf",
    "core.sparsecheckout",
    "core.sparsecheckoutcone",
    "core.symlinks",
)
_FORMAT = "extensions.objectformat"
_WANTED = "^(" + "|".join(re.escape(key) for key in (*_DATA, _FORMAT)) + ")$"
_PLAIN = re.compile(r"[A-Za-z0-9_-]{0,32}")


async def check_out(git_dir: Path, admin: Path, worktree: Path, commit: str) -> None:
    """Write the files of ``commit`` to ``worktree`` and its index to ``admin``. Repeatable.

    ``admin`` is the worktree's directory within the common ``git_dir``.

    Raises:
        DiskFullError, GitError: some files may be there, the next call goes on.
    """
    settings = await _settings(git_dir, admin)
    with _private_git_dir(git_dir, admin, settings.pop(_FORMAT, "")) as private:
        plain = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        await invocation.git(
            [*plain, "read-tree", "--reset", "-u", "--no-recurse-submodules", commit],
            cwd=worktree,
            git_dir=private,
            env={
                "GIT_OBJECT_DIRECTORY": str(git_dir / "objects"),
                "GIT_INDEX_FILE": str(admin / "index"),
                "GIT_WORK_TREE": str(worktree),
                # Without a remote git-lfs can only use what it has; the rest stays a pointer.
                "GIT_LFS_SKIP_DOWNLOAD_ERRORS": "1",
            },
            deadline_s=CHECKOUT_S,
        )


async def _settings(git_dir: Path, admin: Path) -> dict[str, str]:
    """Give what the repository sets of the wanted keys; the user's own apply by themselves."""
    done = await invocation.git(
        ["config", "-z", "--show-scope", "--get-regexp", _WANTED],
        cwd=git_dir,
        git_dir=admin,
        accepted=(0, 1),
    )
    return decode_settings(done)


def decode_settings(done: process.Completed) -> dict[str, str]:
    """Read ``git config -z --show-scope``: scope, then key and value; the last one counts."""
    parts = done.stdout.decode("utf-8", "replace").split("\0")
    found: dict[str, str] = {}
    for scope, setting in zip(parts[::2], parts[1::2], strict=False):
        key, _, value = setting.partition("\n")
        if scope in ("local", "worktree") and _PLAIN.fullmatch(value):
            found[key] = value or "true"
    return found


@contextlib.contextmanager
def _private_git_dir(git_dir: Path, admin: Path, object_format: str) -> Iterator[Path]:
    private = Path(tempfile.mkdtemp(prefix="tachikoma-git-"))
    try:
        with files.translated(private):
            for directory in ("refs", "info"):
                (private / directory).mkdir()
            (private / "HEAD").write_text("ref: refs/heads/none\n", encoding="ascii")
            (private / "config").write_text(_config(object_format), encoding="ascii")
            (private / "lfs").symlink_to(git_dir / "lfs")
            for name, owner in (("attributes", git_dir), ("sparse-checkout", admin)):
                (private / "info" / name).symlink_to(owner / "info" / name)
        yield private
    finally:
        shutil.rmtree(private, ignore_errors=True)


def _config(object_format: str) -> str:
    if object_format and object_format != "sha1":
        extension = f"[extensions]\n\tobjectformat = {object_format}\n"
        return f"[core]\n\trepositoryformatversion = 1\n\tbare = false\n{extension}"
    return "[core]\n\trepositoryformatversion = 0\n\tbare = false\n"
