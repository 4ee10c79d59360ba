"""The clones that tasks' worktrees are made from, one for each repository (policy and names)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from tachikoma.git import cloning, refs
from tachikoma.git.cloning import BareClone, Cloning
from tachikoma.git.outward import CLONE_S
from tachikoma.git.port import Identity
from tachikoma.git.remotes import shown
from tachikoma.host import files
from tachikoma.host.alone import alone
from tachikoma.host.clock import Clock
from tachikoma.model.errors import GitError
from tachikoma.model.errors_fleet import WorkspaceError
from tachikoma.model.names import mark, slugify

OWN = ".host"
"""Where below ``repos_dir`` the host keeps its own views of the clones; no guest sees it."""
_SOME = 5
_LONG = 12


@dataclass(frozen=True, slots=True)
class Base:
    """The commit that a task starts from, in the bare clone ``repository``."""

    repository: Path
    commit: str
    notices: tuple[str, ...] = ()


class Clones:
    """Bare clones below ``repos_dir``, made once and fetched for each new task.

    Tasks that start at the same time share one fetch's lock, each process of this user's does.
    """

    def __init__(self, *, repos_dir: Path, cloning: Cloning, clock: Clock) -> None:
        self._repos = Path(os.path.realpath(repos_dir))
        self._cloning = cloning
        self._clock = clock

    @property
    def directory(self) -> Path:
        """Where the clones are."""
        return self._repos

    def is_of(self, repository: Path, url: str) -> bool:
        """Tell whether ``repository`` is the clone of ``url``."""
        return self._owner(repository.name)[0] == _key(whole_url(url))

    def url_of(self, repository: Path) -> str:
        """Give the URL that a clone is of, without a password; "" for none."""
        return self._owner(repository.name)[1]

    def _owner(self, name: str) -> tuple[str, str]:
        """Give what tells a clone's repository from others, and its URL; "" for no clone's name."""
        written = self._repos / OWN / f"{name}.url"
        if not written.exists():
            return "", ""
        key, _, url = written.read_text(encoding="utf-8").partition("\n")
        return key, url.strip()

    async def base(self, url: str, branch: str | None) -> Base:
        """Give the commit of the remote's ``branch`` (None: its main one), cloned or fetched now.

        A remote that is not reached is no error if an earlier fetch has that branch.

        Raises:
            WorkspaceError: there is no such branch; the hint names some.
            GitError: the remote was never reached, or what is needed is not in the clone.
        """
        address = whole_url(url)
        async with self._held(address) as clone:
            missed: GitError | None = None
            if not clone.path.exists():
                await self._cloning.clone(address, clone)
            else:
                try:
                    await self._cloning.refresh(address, clone)
                except GitError as error:
                    missed = error
            found = await cloning.bases(clone) if clone.own.exists() else {}
            main = cloning.main_of(clone.own) if clone.own.exists() else ""
            wanted = branch or cloning.usual_main(found, main)
            commit = found.get(wanted, "") or await _of_a_task(clone.path, branch)
            if not commit:
                raise missed or _no_base(address, branch, sorted(found))
            notices = (_not_fetched(address, missed),) if missed else ()
            return Base(clone.path, commit, notices)

    async def base_within(self, repository: Path, branch: str) -> Base:
        """Give the commit of ``branch`` as an existing clone has it, without asking the remote.

        Raises:
            WorkspaceError: there is no such branch; the hint names some.
        """
        clone = BareClone(repository, self._repos / OWN / repository.name)
        found = await cloning.bases(clone) if clone.own.exists() else {}
        commit = found.get(branch, "") or await _of_a_task(repository, branch)
        if not commit:
            raise _no_base(repository.name, branch, sorted(found))
        return Base(repository, commit)

    async def fresh(self, task: UUID, identity: Identity) -> Base:
        """Give an empty repository of its own to a task that has none."""
        path = self._repos / f"task-{task.hex[:_LONG]}"
        async with alone(self._lock(path.name), clock=self._clock, deadline_s=CLONE_S):
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                with cloning.temporary(path) as made:
                    await cloning.new_bare(made)
                    await cloning.first_commit(made, identity)
                    with files.translated(path):
                        made.rename(path)
            return Base(path, await refs.commit_of(path, "refs/heads/main"))

    @contextlib.asynccontextmanager
    async def _held(self, url: str) -> AsyncIterator[BareClone]:
        """Hold the clone of ``url``, which may not be there yet.

        The first repository of a name gets that name, another one of the same name a mark behind
        it. Which is whose is written beside them, where no guest reaches.
        """
        key = _key(url)
        for name in (name_of(url), f"{name_of(url)}-{mark(key)}"):
            own = self._repos / OWN / name
            async with alone(self._lock(name), clock=self._clock, deadline_s=CLONE_S):
                if not self._owner(name)[0]:
                    text = f"{key}\n{shown(url)}\n"
                    written = own.with_suffix(".url")
                    await asyncio.to_thread(files.write_atomically, written, text.encode())
                if self._owner(name)[0] == key:
                    yield BareClone(self._repos / name, own)
                    return
        raise WorkspaceError(
            f"there is no name left for a clone of {key}",
            hint=f"see {self._repos / OWN} for what has it",
        )

    def _lock(self, name: str) -> Path:
        return self._repos / OWN / f"{name}.lock"


async def _of_a_task(repository: Path, branch: str | None) -> str:
    """Give the commit of another task's branch, for a task that builds on it; "" if none."""
    return await refs.commit_of(repository, f"refs/heads/{branch}") if branch else ""


def whole_url(url: str) -> str:
    """Give a repository's URL as git takes it: ``~`` of a local path expanded (pure but for HOME).

    Raises:
        WorkspaceError: it is a relative path, which means nothing to a daemon.
    """
    given = url.strip()
    expanded = str(Path(given).expanduser()) if given.startswith("~") else given
    if re.match(r"[\w.+-]+://|/|[^/]+:", expanded) and "\0" not in expanded:
        return expanded
    raise WorkspaceError(
        f"{given!r} is no address of a repository",
        hint="give a URL (https, ssh, git@host:path) or an absolute path",
    )


def _key(url: str) -> str:
    return shown(url).rstrip("/").removesuffix(".git").rstrip("/")


def name_of(url: str) -> str:
    """Give the name of a clone's directory: the repository's (pure)."""
    parts = [part for part in re.split(r"[/:]", shown(url).rstrip("/")) if part]
    last = parts[-1] if parts[-1:] != [".git"] else (parts[-2:-1] or [""])[0]
    return slugify(last.removesuffix(".git") or url)


def _no_base(url: str, branch: str | None, known: list[str]) -> WorkspaceError:
    some = ", ".join(known[:_SOME]) + (", ..." if len(known) > _SOME else "")
    if not known:
        return WorkspaceError(
            f"{shown(url)} has no commit to start from",
            hint="push a first commit to it, then run the task again",
        )
    if branch is None:
        return WorkspaceError(
            f"{shown(url)} does not say which branch is its main one",
            hint=f"set baseBranch; there are {some}",
        )
    return WorkspaceError(f"{shown(url)} has no branch {branch}", hint=f"there are {some}")


def _not_fetched(url: str, error: GitError) -> str:
    return f"{shown(url)} could not be fetched, so what is here is used: {error.message}"
