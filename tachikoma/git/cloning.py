"""Clones: bare ones that guests get to write to, and full ones for people.

Beside a bare clone there is the host's own view of it, a git directory that no guest sees: it
holds the refs as the remote had them at the last fetch, and the clone's objects are its own. A
fetch goes by that one, so nothing that a guest wrote to the clone's configuration counts, and a
new task starts from what the remote said, not from what another task's agent made of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tachikoma.git import invocation, outward, refs
from tachikoma.git.outward import CLONE_S, Outward
from tachikoma.git.port import Identity
from tachikoma.git.publishing import decode_heads
from tachikoma.git.remotes import shown
from tachikoma.host import files
from tachikoma.model.errors import GitError

_REFS = ("+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*")
_CONFIG = "[core]\n\trepositoryformatversion = 0\n\tbare = true\n\tcommitGraph = false\n"
_USUAL = ("main", "master")
_NO_MAIN = ".none"


@dataclass(frozen=True, slots=True)
class BareClone:
    """``path`` is the clone that guests write to, ``own`` the host's own view of it."""

    path: Path
    own: Path


class Cloning:
    """Makes and refreshes clones; ``environ`` is the user's environment."""

    def __init__(self, *, environ: Mapping[str, str]) -> None:
        self._outward = Outward(environ=environ)

    async def clone(self, url: str, clone: BareClone) -> None:
        """Make a bare clone whose branches are the remote's, as ``origin/*``; whole or not at all.

        Raises:
            GitError: the remote is not reached, or is empty.
        """
        outward.check(url)
        await asyncio.to_thread(shutil.rmtree, clone.own, ignore_errors=True)
        clone.path.parent.mkdir(parents=True, exist_ok=True)
        for stale in clone.path.parent.glob(f".{clone.path.name}.*.tmp"):
            await asyncio.to_thread(shutil.rmtree, stale, ignore_errors=True)
        with temporary(clone.path) as made:
            await new_bare(made, origin=shown(url))
            await self._fetch(url, clone.own, made / "objects")
            await _mirror(BareClone(made, clone.own))
            await invocation.git(["pack-refs", "--all"], cwd=made, git_dir=made)
            with files.translated(clone.path):
                made.rename(clone.path)

    async def refresh(self, url: str, clone: BareClone) -> None:
        """Fetch what is new; the branches of tasks stay as they are.

        Raises:
            GitError: the remote is not reached; the clone is as it was.
        """
        outward.check(url)
        try:
            await self._fetch(url, clone.own, clone.path / "objects")
        except GitError:
            await self._ask(url)
            # It is there, so the clone is what is wrong: an agent may have removed objects.
            await asyncio.to_thread(shutil.rmtree, clone.own, ignore_errors=True)
            await self._fetch(url, clone.own, clone.path / "objects")
        # What guests see of the remote is a courtesy; where a task starts is read from our own.
        with contextlib.suppress(GitError):
            await _mirror(clone)

    async def full(
        self, url: str, target: Path, *, branch: str | None = None, shallow: bool = False
    ) -> None:
        """Make a clone for people at ``target``, whole or not at all.

        Raises:
            GitError: something is there already, the remote is not reached, or has no ``branch``.
        """
        outward.check(url)
        if target.is_symlink() or (target.exists() and not is_empty(target)):
            raise GitError(
                f"{target} is there already, and not empty",
                hint="choose another directory, or move it away",
            )
        with files.translated(target):
            target.parent.mkdir(parents=True, exist_ok=True)
        with temporary(target) as made:
            how = [*(["--branch", branch] if branch else []), *(["--depth=1"] if shallow else [])]
            plain = ["-c", "core.fsmonitor=false", "--no-recurse-submodules"]
            done = await self._outward.git(
                ["clone", "--quiet", *plain, *how, "--", url, str(made)], deadline_s=CLONE_S
            )
            if done.status != 0:
                raise outward.unreachable(url, done)
            with files.translated(target):
                made.rename(target)

    async def _ask(self, url: str) -> str:
        """Give the remote's main branch."""
        done = await self._outward.git(["ls-remote", "--symref", "--", url, "HEAD"])
        if done.status != 0:
            raise outward.unreachable(url, done)
        return decode_heads(done.text, "").main

    async def _fetch(self, url: str, own: Path, objects: Path) -> None:
        main = await self._ask(url)
        if not own.exists():
            _make_own(own)
        quiet = ["--quiet", "--no-write-fetch-head", "--no-auto-gc", "--no-recurse-submodules"]
        done = await self._outward.git(
            ["fetch", *quiet, "--no-tags", "--prune", "--", url, *_REFS],
            git_dir=own,
            env={"GIT_OBJECT_DIRECTORY": str(objects)},
            deadline_s=CLONE_S,
        )
        if done.status != 0:
            raise outward.unreachable(url, done)
        if main:
            (own / "HEAD").write_text(f"ref: refs/remotes/origin/{main}\n", encoding="utf-8")


async def _mirror(clone: BareClone) -> None:
    """Let the clone show what the remote has."""
    kinds = ["refs/remotes/origin/", "refs/tags/"]
    wanted = await refs.branches(clone.own, kinds, objects=clone.path / "objects")
    there = await refs.branches(clone.path, kinds)
    gone = [ref for ref in there if ref not in wanted and ref.startswith("refs/remotes/")]
    orders = [f"delete {ref}\n" for ref in gone if not ref.endswith("/HEAD")]
    orders += [
        f"update {ref} {commit}\n"
        for ref, commit in wanted.items()
        if there.get(ref) != commit and (ref not in there or ref.startswith("refs/remotes/"))
    ]
    if orders:
        await invocation.git(
            ["update-ref", "--stdin"],
            cwd=clone.path,
            git_dir=clone.path,
            stdin="".join(orders).encode(),
        )
    main = main_of(clone.own)
    if main:
        where = ["refs/remotes/origin/HEAD", f"refs/remotes/origin/{main}"]
        await invocation.git(["symbolic-ref", *where], cwd=clone.path, git_dir=clone.path)


def main_of(own: Path) -> str:
    """Give the main branch of the remote as the host knows it; "" if it has none."""
    said = (own / "HEAD").read_text(encoding="utf-8").strip()
    found = said.removeprefix("ref: refs/remotes/origin/")
    return "" if found in (said, _NO_MAIN) else found


async def bases(clone: BareClone) -> dict[str, str]:
    """Give the branches of the remote with their commits, as of the last fetch."""
    where = "refs/remotes/origin/"
    found = await refs.branches(clone.own, [where], objects=clone.path / "objects")
    return {ref.removeprefix(where): commit for ref, commit in found.items()}


def usual_main(names: Mapping[str, str], main: str) -> str:
    """Choose the branch to start from where nobody names one; "" if none stands out (pure)."""
    if main in names:
        return main
    only = next(iter(names)) if len(names) == 1 else ""
    return next((name for name in _USUAL if name in names), only)


async def new_bare(path: Path, *, origin: str = "") -> None:
    """Make an empty bare repository."""
    await invocation.git(
        ["init", "--quiet", "--bare", "--template=", "--initial-branch=main", str(path)],
        cwd=path.parent,
    )
    settings = {"gc.auto": "0"}
    if origin:
        settings |= {"remote.origin.url": origin, "remote.origin.fetch": _REFS[0]}
    for key, value in settings.items():
        await invocation.git(["config", key, value], cwd=path, git_dir=path)


async def first_commit(path: Path, identity: Identity) -> str:
    """Give a bare repository without a commit an empty one on ``main``."""
    tree = await invocation.git(["mktree"], cwd=path, git_dir=path)
    who = {
        f"GIT_{role}_{what}": value
        for role in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", identity.name), ("EMAIL", identity.email))
    }
    made = await invocation.git(
        ["commit-tree", tree.text, "-m", "An empty start"], cwd=path, git_dir=path, env=who
    )
    await refs.move(path, "refs/heads/main", made.text, "")
    return made.text


def is_empty(directory: Path) -> bool:
    """Tell whether it is a directory with nothing in it."""
    return directory.is_dir() and not any(directory.iterdir())


def _make_own(own: Path) -> None:
    with files.translated(own):
        for part in ("refs", "objects"):
            (own / part).mkdir(parents=True, exist_ok=True)
        (own / "config").write_text(_CONFIG, encoding="ascii")
        (own / "HEAD").write_text(f"ref: refs/remotes/origin/{_NO_MAIN}\n", encoding="ascii")


@contextlib.contextmanager
def temporary(target: Path) -> Iterator[Path]:
    """Make a directory beside ``target`` that is to be renamed to it; what is left of it goes."""
    made = target.with_name(f".{target.name}.{os.urandom(4).hex()}.tmp")
    with files.translated(target):
        made.mkdir()
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
