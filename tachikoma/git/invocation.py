"""How git is called on a ``.git`` that a guest may have written to.

A repository's own configuration can name programs to run. Each call therefore sets those keys on
its command line, where nothing in a file can override them. Only keys with a free middle part
(``filter.<any>.smudge``) cannot be answered so; they matter when files are checked out, and
``checkout`` does that without reading the repository's configuration at all.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from tachikoma.host import process
from tachikoma.model.errors import (
    DiskFullError,
    GitError,
    NotARepositoryError,
    TachikomaError,
)

QUICK_S = 60.0
"""For what takes milliseconds: generous, as the disk may be slow and the machine busy."""

ENVIRONMENT: Mapping[str, str] = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    # No fetching of missing objects: the remotes are the guest's word too.
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_NO_LAZY_FETCH": "1",
    # An object is what its id says, and its parents are those in it.
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_GRAFT_FILE": "/dev/null/none",
    "GIT_PAGER": "cat",
    "GIT_EDITOR": "true",
    "GIT_ASKPASS": "true",
    # A fixed identity in reflogs: their lines end up wherever a symbolic link leads, and a
    # name from the repository's configuration would be text of the guest's choice.
    "GIT_COMMITTER_NAME": "tachikoma",
    "GIT_COMMITTER_EMAIL": "tachikoma@localhost",
}

_OVERRIDES = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.pager=cat",
    "core.editor=true",
    "core.askPass=true",
    "core.sshCommand=false",
    "core.gitProxy=",
    "core.alternateRefsCommand=true",
    "core.commitGraph=false",
    "credential.helper=",
    "diff.external=",
    "gpg.program=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "protocol.allow=never",
    "protocol.ext.allow=never",
    "submodule.recurse=false",
)

_WORST = re.compile(r"^(?:fatal|error): (.*)$", re.MULTILINE)


def git_argv(arguments: Sequence[str], *, git_dir: Path | None = None) -> list[str]:
    """Give the argv of a git call that runs nothing the repository names."""
    where = [f"--git-dir={git_dir}"] if git_dir else []
    overrides = [part for setting in _OVERRIDES for part in ("-c", setting)]
    return ["git", "--no-pager", *overrides, *where, *arguments]


async def git(  # noqa: PLR0913 - the calls differ in just these
    arguments: Sequence[str],
    *,
    cwd: Path,
    git_dir: Path | None = None,
    accepted: Sequence[int] = (0,),
    env: Mapping[str, str] | None = None,
    stdin: bytes = b"",
    deadline_s: float = QUICK_S,
) -> process.Completed:
    """Run git to its end; ``git_dir`` spares it looking for the repository.

    Raises:
        MissingToolError: there is no git.
        GitError: it ended with a status that is not among ``accepted``, or a more telling error.
    """
    done = await process.run(
        git_argv(arguments, git_dir=git_dir),
        deadline_s=deadline_s,
        stdin=stdin,
        env={**ENVIRONMENT, **(env or {})},
        cwd=cwd,
        check=False,
    )
    if done.status not in accepted:
        refuse(arguments, words_of(done), cwd)
    return done


def words_of(done: process.Completed) -> str:
    """Give what git said, without what looks like a credential."""
    return process.redacted(done.stderr.decode("utf-8", "replace")).strip()


def worst(said: str) -> str:
    """Give the line that tells what went wrong."""
    found = _WORST.search(said)
    return found[1] if found else said.rpartition("\n")[2]


def refuse(arguments: Sequence[str], said: str, cwd: Path) -> NoReturn:
    """Raise our error for what git said."""
    raise _error(arguments, said, cwd)


def _error(arguments: Sequence[str], said: str, cwd: Path) -> TachikomaError:
    details = f"$ git {process.redacted(shlex.join(arguments))}\n{said}".rstrip()
    if "No space left on device" in said or "Disk quota exceeded" in said:
        return DiskFullError(
            f"no space is left on a disk that git needs for {cwd}",
            hint="free some space (`tachikoma list` shows what each VM takes), then run it again",
            details=details,
        )
    if "dubious ownership" in said:
        return NotARepositoryError(
            f"git does not trust the repository at {cwd}: it belongs to another user",
            hint=_own_words(said)
            or f"if you trust it: git config --global --add safe.directory {shlex.quote(str(cwd))}",
            details=details,
        )
    if re.search(r"not a git repository", said, re.IGNORECASE):
        return NotARepositoryError(
            f"{cwd} is in no git repository",
            hint="change to a repository, or make one with `git init`",
            details=details,
        )
    return GitError(
        f"git says: {worst(said) or 'nothing, but it failed'}",
        hint="run the command below by hand to see more",
        details=details,
    )


def _own_words(said: str) -> str:
    found = re.search(r"^\s*(git config --global --add safe\.directory .*)$", said, re.MULTILINE)
    return f"if you trust it: {found[1]}" if found else ""
