"""A git directory of our own around the real objects: the repository's configuration is not read.

Whatever touches file contents runs what ``filter.<name>.clean``, ``smudge`` and ``process`` say,
and whatever talks to a remote believes ``remote.*``, ``url.*`` and ``http.*``. A guest may have
written all of it, at any moment. So git gets its own configuration with the few settings that are
plain data. Filters and credential helpers of the user's own configuration keep working.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tachikoma.git import invocation
from tachikoma.host import files, process

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
_INFO = (("attributes", "all"), ("exclude", "all"), ("sparse-checkout", "worktree"))
_WANTED = "^(" + "|".join(re.escape(key) for key in (*_DATA, _FORMAT)) + ")$"
_PLAIN = re.compile(r"[A-Za-z0-9_-]{0,32}")


@dataclass(frozen=True, slots=True)
class PrivateGitDir:
    """``path`` goes where git takes ``--git-dir``, ``options`` before the command's name, and
    ``environment`` with it.
    """

    path: Path
    options: tuple[str, ...]
    environment: Mapping[str, str]


@contextlib.asynccontextmanager
async def private_git_dir(
    git_dir: Path, admin: Path, worktree: Path
) -> AsyncIterator[PrivateGitDir]:
    """Make one for ``worktree``, whose own directory within the common ``git_dir`` is ``admin``.

    Raises:
        DiskFullError, GitError: it cannot be made.
    """
    settings = await _settings(git_dir, admin)
    with _directory(git_dir, admin, settings.pop(_FORMAT, "")) as path:
        yield PrivateGitDir(
            path=path,
            options=tuple(x for key, value in settings.items() for x in ("-c", f"{key}={value}")),
            environment={
                "GIT_OBJECT_DIRECTORY": str(git_dir / "objects"),
                "GIT_INDEX_FILE": str(admin / "index"),
                "GIT_WORK_TREE": str(worktree),
                # Without a remote git-lfs can only use what it has; the rest stays a pointer.
                "GIT_LFS_SKIP_DOWNLOAD_ERRORS": "1",
            },
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
def _directory(git_dir: Path, admin: Path, object_format: str) -> Iterator[Path]:
    private = Path(tempfile.mkdtemp(prefix="tachikoma-git-"))
    try:
        with files.translated(private):
            for directory in ("refs", "info"):
                (private / directory).mkdir()
            (private / "HEAD").write_text("ref: refs/heads/none\n", encoding="ascii")
            (private / "config").write_text(_config(object_format), encoding="ascii")
            (private / "lfs").symlink_to(git_dir / "lfs")
            for name, owner in _INFO:
                (private / "info" / name).symlink_to(
                    (admin if owner == "worktree" else git_dir) / "info" / name
                )
            if (git_dir / "shallow").exists():
                (private / "shallow").symlink_to(git_dir / "shallow")
        yield private
    finally:
        shutil.rmtree(private, ignore_errors=True)


def _config(object_format: str) -> str:
    if object_format and object_format != "sha1":
        extension = f"[extensions]\n\tobjectformat = {object_format}\n"
        return f"[core]\n\trepositoryformatversion = 1\n\tbare = false\n{extension}"
    return "[core]\n\trepositoryformatversion = 0\n\tbare = false\n"
