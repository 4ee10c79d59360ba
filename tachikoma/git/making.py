"""Making a worktree so that it is there whole or can be finished by the next who comes."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
import shlex
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tachikoma.git import checkout, invocation, worktrees
from tachikoma.git.port import Origin, Repository, Worktree
from tachikoma.git.worktrees import UNFINISHED, Entry
from tachikoma.host import files, inside
from tachikoma.host.alone import alone
from tachikoma.host.clock import Clock
from tachikoma.host.paths import private_dir
from tachikoma.model.errors import EmptyRepositoryError, GitError, WorktreeError
from tachikoma.model.names import mark, slugify

_NAMESPACE = re.compile(r"'refs/heads/([^']+)' exists; cannot create")

_NEXT_TO_NOTHING = 1 << 20


@dataclass(frozen=True, slots=True)
class Start:
    """Where a branch comes from: ``name`` as told to the user, ``commit`` its id."""

    origin: Origin
    name: str
    commit: str

    def arguments(self, branch: str, path: Path) -> list[str]:
        """Give the last arguments of ``git worktree add``."""
        match self.origin:
            case Origin.FROM_REMOTE:
                return ["--track", "-b", branch, str(path), f"refs/remotes/{self.name}"]
            case Origin.FROM_HEAD:
                return ["--no-track", "-b", branch, str(path), self.commit]
            case _:
                return [str(path), branch]


class Maker:
    """Makes, finishes and forgets linked worktrees of a repository."""

    def __init__(self, *, clock: Clock, locks: Path) -> None:
        self._clock = clock
        self._locks = locks

    async def find(self, repository: Repository, branch: str) -> Entry | None:
        """Find the worktree that git lists for ``branch``."""
        entries = await self._entries(repository)
        return next((entry for entry in entries if entry.branch == branch), None)

    @contextlib.asynccontextmanager
    async def alone(self, repository: Repository) -> AsyncIterator[None]:
        """Be the only one of this user who makes worktrees of ``repository``.

        Raises:
            WorktreeError: another process takes longer than the longest checkout.
        """
        path = private_dir(self._locks) / f"worktrees-{mark(str(repository.git_dir))}.lock"
        async with contextlib.AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(
                    alone(path, clock=self._clock, deadline_s=checkout.CHECKOUT_S)
                )
            except TimeoutError as error:
                raise WorktreeError(
                    f"another process is making a worktree of {repository.root}",
                    hint=f"see who holds {path}",
                ) from error
            yield

    async def make(self, repository: Repository, branch: str, parent: Path | None) -> Worktree:
        """Make the worktree of a branch that is checked out nowhere; within ``alone``.

        Raises: as ``Git.ensure_worktree``; nothing half-done is left.
        """
        start = await self._start(repository, branch)
        return await self._make(
            repository, branch, start, await self._place(repository, branch, parent)
        )

    async def make_at(
        self, repository: Repository, branch: str, path: Path, commit: str
    ) -> Worktree:
        """Give the worktree of ``branch`` at ``path``, made or finished; within ``alone``.

        A branch that is there already stays where it is, a new one starts at ``commit``.

        Raises: as ``make``, and WorktreeError if the branch is checked out somewhere else, or
            something else is at ``path``.
        """
        entries = await self._entries(repository)
        entry = next((entry for entry in entries if entry.branch == branch), None)
        if entry is not None and entry.path == path and worktrees.is_genuine(repository, path):
            if entry.unfinished:
                await self.finish(repository, entry)
            return Worktree(branch, path, Origin.EXISTING)
        if entry is not None and entry.path != path and entry.path.exists():
            raise WorktreeError(
                f"{branch} is checked out at {entry.path}, not at {path}",
                hint=f"remove that worktree: git worktree remove {shlex.quote(str(entry.path))}",
            )
        for stale in entries:
            half_made = stale.unfinished or not stale.path.exists()
            if half_made and (stale.path == path or stale.branch == branch):
                await self._clear(repository, stale)
        if not _is_free(path):
            raise WorktreeError(
                f"{path} is something else than the worktree of {branch}",
                hint="look what it is, and move it away",
            )
        start = Start(Origin.FROM_HEAD, commit, commit)
        done = await invocation.git(
            ["rev-parse", "--quiet", "--verify", f"refs/heads/{branch}^{{commit}}"],
            cwd=repository.root,
            git_dir=repository.git_dir,
            accepted=(0, 1),
        )
        if done.status == 0:
            start = Start(Origin.FROM_LOCAL, branch, done.text)
        return await self._make(repository, branch, start, path)

    async def _make(
        self, repository: Repository, branch: str, start: Start, path: Path
    ) -> Worktree:
        lock = ["--no-checkout", "--lock", "--reason", UNFINISHED]
        arguments = ["worktree", "add", *lock, *start.arguments(branch, path)]
        try:
            with _named(branch, arguments, path):
                await self._git(repository, arguments)
                await self._fill(repository, path, start.commit)
        except BaseException as error:
            # A branch that came up meanwhile is somebody else's.
            if not (isinstance(error, GitError) and "already exists" in error.details):
                await asyncio.shield(self._undo(repository, branch, start, path))
            raise
        named = "" if start.origin is Origin.FROM_LOCAL else start.name
        return Worktree(branch, path, start.origin, named)

    async def finish(self, repository: Repository, entry: Entry) -> None:
        """Complete a worktree whose maker was killed; within ``alone``."""
        arguments = ["worktree", "add", str(entry.path), entry.branch]
        with _named(entry.branch, arguments, entry.path):
            await self._fill(repository, entry.path, entry.head)

    async def forget_vanished(self, repository: Repository, entry: Entry) -> None:
        """Let git forget one worktree whose directory is gone; the others stay as they are.

        Raises:
            WorktreeError: its user has locked it (a disk that is not plugged in).
        """
        if entry.lock is not None and not entry.unfinished:
            raise WorktreeError(
                f"{entry.branch} is checked out at {entry.path}, which is missing and locked"
                + (f": {entry.lock}" if entry.lock else ""),
                hint=f"bring it back, or run: git worktree unlock {shlex.quote(str(entry.path))}",
            )
        await self._git(repository, ["worktree", "remove", "-f", "-f", str(entry.path)])

    async def _fill(self, repository: Repository, path: Path, commit: str) -> None:
        admin = worktrees.git_dir_of(path)
        if admin is None or not worktrees.is_genuine(repository, path):
            raise WorktreeError(
                f"the new worktree at {path} was changed by somebody else while it was made",
                hint="look who else works there, then run it again",
            )
        # Nobody else fills it: what locks its index was killed.
        inside.remove(repository.git_dir, ("worktrees", admin.name, "index.lock"))
        if (admin / "index").is_symlink():
            # Git writes through such a link, over a file of the host. A guest made it.
            inside.remove(repository.git_dir, ("worktrees", admin.name, "index"))
        await checkout.check_out(repository.git_dir, admin, path, commit)
        with files.translated(admin):
            (admin / "locked").unlink(missing_ok=True)

    async def _undo(self, repository: Repository, branch: str, start: Start, path: Path) -> None:
        """Take back what ``make`` has done so far, and nothing that somebody else has."""
        if _is_unfinished(repository, path):
            await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)
            with contextlib.suppress(GitError):
                await self._git(repository, ["worktree", "remove", "-f", "-f", str(path)])
        if start.origin is not Origin.FROM_LOCAL:
            with contextlib.suppress(GitError):
                await self._git(
                    repository, ["update-ref", "-d", f"refs/heads/{branch}", start.commit]
                )

    async def _start(self, repository: Repository, branch: str) -> Start:
        done = await self._git(
            repository,
            [
                "for-each-ref",
                "--format=%(objectname) %(refname)",
                f"refs/heads/{branch}",
                f"refs/remotes/*/{branch}",
            ],
        )
        refs = {ref: commit for commit, _, ref in (x.partition(" ") for x in done.splitlines())}
        if commit := refs.get(f"refs/heads/{branch}"):
            return Start(Origin.FROM_LOCAL, branch, commit)
        remote = {
            ref.removeprefix("refs/remotes/"): commit
            for ref, commit in refs.items()
            if re.fullmatch(rf"refs/remotes/[^/]+/{re.escape(branch)}", ref)
        }
        if remote:
            name = _only(branch, sorted(remote))
            return Start(Origin.FROM_REMOTE, name, remote[name])
        return await self._from_head(repository)

    async def _from_head(self, repository: Repository) -> Start:
        done = await invocation.git(
            ["rev-parse", "--quiet", "--verify", "HEAD^{commit}"],
            cwd=repository.root,
            git_dir=repository.git_dir,
            accepted=(0, 1),
        )
        if done.status != 0:
            raise EmptyRepositoryError(
                f"HEAD of {repository.root} has no commit to start a branch from",
                hint="make a first commit: git commit --allow-empty -m start",
            )
        return Start(Origin.FROM_HEAD, done.text, done.text)

    async def _place(self, repository: Repository, branch: str, parent: Path | None) -> Path:
        """Choose the directory: free, and not that of a worktree which git still lists."""
        entries = await self._entries(repository)
        for entry in entries:
            if entry.unfinished and entry.unborn and not entry.branch:
                await self._clear(repository, entry)
                entries = [other for other in entries if other != entry]
        beside = repository.root.parent / (parent or "")
        simple = Path(os.path.realpath(beside)) / f"{repository.name}-{slugify(branch)}"
        listed = {entry.path for entry in entries}
        for path in (simple, simple.with_name(f"{simple.name}-{mark(branch)}")):
            if path not in listed and _is_free(path):
                return path
        raise WorktreeError(
            f"no directory is free for the worktree of {branch}: {simple} is something else",
            hint="move it away, or set worktree_dir to another directory",
        )

    async def _clear(self, repository: Repository, entry: Entry) -> None:
        """Remove what a killed maker left before the worktree had a branch, let alone files."""
        with contextlib.suppress(OSError):
            if worktrees.is_genuine(repository, entry.path) and _names(entry.path) == [".git"]:
                (entry.path / ".git").unlink()
            entry.path.rmdir()
        if not entry.path.exists():
            await self.forget_vanished(repository, entry)

    async def _entries(self, repository: Repository) -> list[Entry]:
        if (repository.git_dir / "worktrees").is_symlink():
            raise WorktreeError(
                f"{repository.git_dir / 'worktrees'} is a symbolic link; git never makes one",
                hint="find out who made it, and remove it",
            )
        done = await invocation.git(
            ["worktree", "list", "--porcelain", "-z"],
            cwd=repository.root,
            git_dir=repository.git_dir,
        )
        main, *linked = worktrees.decode_list(done.stdout)
        if main.bare or repository.main_worktree is None:
            return linked
        # Of a submodule git names the git directory there.
        return [replace(main, path=repository.main_worktree), *linked]

    async def _git(self, repository: Repository, arguments: list[str]) -> str:
        done = await invocation.git(arguments, cwd=repository.root, git_dir=repository.git_dir)
        return done.text


def _only(branch: str, names: list[str]) -> str:
    if len(names) == 1:
        return names[0]
    if f"origin/{branch}" in names:
        return f"origin/{branch}"
    raise WorktreeError(
        f"several remotes have {branch}: {', '.join(names)}",
        hint=f"choose one: git branch --track {shlex.quote(branch)} {shlex.quote(names[0])}",
    )


def _is_unfinished(repository: Repository, path: Path) -> bool:
    admin = worktrees.git_dir_of(path)
    if admin is None or not worktrees.is_genuine(repository, path):
        return False
    with contextlib.suppress(OSError):
        return (admin / "locked").read_text(encoding="utf-8").strip() == UNFINISHED
    return False


def _is_full(path: Path) -> bool:
    with contextlib.suppress(OSError):
        disk = os.statvfs(path)
        if disk.f_files > 0 and disk.f_favail == 0:
            return True
        return disk.f_bavail * disk.f_frsize < _NEXT_TO_NOTHING
    return False


def _names(path: Path) -> list[str]:
    return [inside.name for inside in path.iterdir()]


def _is_free(path: Path) -> bool:
    if not os.path.lexists(path):
        return True
    with contextlib.suppress(OSError):
        return not path.is_symlink() and not _names(path)
    return False


@contextlib.contextmanager
def _named(branch: str, arguments: list[str], path: Path) -> Iterator[None]:
    """Turn what git says about making the worktree at ``path`` into a WorktreeError."""
    try:
        yield
    except WorktreeError:
        raise
    except GitError as error:
        said = error.details
        if "unable to" in said and _is_full(path):
            # Of a file that it cannot write git does not say why.
            raise files.from_os_error(OSError(errno.ENOSPC, "full"), path) from error
        if found := _NAMESPACE.search(said):
            message = f"git cannot have both a branch {found[1]} and a branch {branch}"
            hint = "choose a name that is not within the other's"
        elif "already checked out" in said or "already used by worktree" in said:
            message = f"{branch} is in use by another worktree ({invocation.worst(said)})"
            hint = "end the rebase or bisect there, or switch it to another branch"
        else:
            message = f"git could not make the worktree of {branch}: {invocation.worst(said)}"
            hint = f"try it by hand: git {shlex.join(arguments)}"
        raise WorktreeError(message, hint=hint, details=said) from error
