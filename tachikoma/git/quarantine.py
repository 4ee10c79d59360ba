"""A repository between an untrusted one and the user's own: what comes in is checked here first.

It sees the objects of the user's repository and keeps new ones for itself. So a merge is tried,
and found to be impossible, without a byte of the user's repository being changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from tachikoma.git import invocation
from tachikoma.git.exporting import exported
from tachikoma.git.linked import commit_arguments, named
from tachikoma.git.merging import Merged, merge_trees
from tachikoma.git.outward import CLONE_S, Outward
from tachikoma.git.port import Commit, Identity, Remote, Repository
from tachikoma.host import files, process
from tachikoma.model.errors import GitError
from tachikoma.model.names import mark

_INCOMING = "refs/heads/incoming"
_CONFIG = "[core]\n\trepositoryformatversion = 0\n\tbare = true\n\tcommitGraph = false\n"
_RECEIVE = (
    # Only the ref moves: the worktree, if there is one, is the caller's to update.
    "receive.denyCurrentBranch=ignore",
    "receive.denyNonFastForwards=true",
    "receive.fsckObjects=true",
    "receive.autogc=false",
    "receive.advertiseAtomic=true",
)


class Quarantine:
    """Held by ``quarantine``."""

    def __init__(self, *, path: Path, target: Repository, outward: Outward) -> None:
        self.path = path
        self._target = target
        self._outward = outward

    @property
    def objects(self) -> Path:
        """Where it keeps its objects; those of the user's repository are seen there, too."""
        return self.path / "objects"

    async def take(self, source: Path, commit: str) -> None:
        """Fetch a commit of an untrusted repository, checking every new object.

        Raises:
            GitError: an object is not what it should be, or missing.
        """
        with exported(source, {_INCOMING: commit}, head=_INCOMING) as given:
            done = await self._outward.git(
                [
                    *["-c", "transfer.fsckObjects=true", "fetch", "--quiet", "--no-tags"],
                    *["--no-write-fetch-head", "--no-auto-gc", "--no-recurse-submodules"],
                    *["--", str(given), f"{_INCOMING}:{_INCOMING}"],
                ],
                git_dir=self.path,
                deadline_s=CLONE_S,
            )
        if done.status != 0:
            said = invocation.words_of(done)
            raise GitError(
                f"the commits of {source} do not pass git's checks: {invocation.worst(said)}",
                hint=f"look at them: git --git-dir={shlex.quote(str(source))} fsck {commit}",
                details=said,
            )

    async def git(
        self,
        arguments: Sequence[str],
        *,
        accepted: Sequence[int] = (0,),
        env: Mapping[str, str] | None = None,
    ) -> process.Completed:
        """Run git in it."""
        return await invocation.git(
            arguments, cwd=self.path, git_dir=self.path, accepted=accepted, env=env
        )

    async def contains(self, commit: str, other: str) -> bool:
        """Tell whether ``commit`` is ``other`` or came after it."""
        done = await self.git(["merge-base", "--is-ancestor", other, commit], accepted=(0, 1))
        return done.status == 0

    async def merge(self, ours: str, theirs: str) -> Merged:
        """Merge two commits.

        Raises:
            GitError: they have no history in common.
        """
        return await merge_trees(self.git, ours, theirs)

    async def commit(
        self, tree: str, parents: Sequence[str], message: Commit, identity: Identity
    ) -> str:
        """Make a commit and give its id."""
        arguments = commit_arguments(tree, parents, message)
        return (await self.git(arguments, env=named(identity))).text

    async def hand_over(self, commit: str, branch: str, *, old: str) -> None:
        """Let ``branch`` of the user's repository be at ``commit`` if it is at ``old`` ("" none).

        The objects come with it or not at all. No hook of that repository runs.

        Raises:
            GitError: the branch has moved meanwhile, or git refused.
        """
        settings = [part for setting in _RECEIVE for part in ("-c", setting)]
        receive = shlex.join(invocation.git_argv([*settings, "receive-pack"]))
        ref = f"refs/heads/{branch}"
        done = await self._outward.git(
            [
                *["push", "--quiet", "--porcelain", "--no-verify", f"--receive-pack={receive}"],
                *[f"--force-with-lease={ref}:{old}", "--", str(self._target.root)],
                f"{commit}:{ref}",
            ],
            git_dir=self.path,
            deadline_s=CLONE_S,
        )
        if done.status != 0:
            said = f"{done.text}\n{invocation.words_of(done)}".strip()
            raise GitError(
                f"{self._target.root} did not take {branch}: {_why(said)}",
                hint="look what it has there, then run the action again",
                details=said,
            )

    async def push(self, commit: str, branch: str, remote: Remote) -> process.Completed:
        """Send ``commit`` to a remote as ``branch``, never by force, whatever comes of it."""
        return await self._outward.git(
            ["push", "--quiet", "--porcelain", "--", remote.url, f"{commit}:refs/heads/{branch}"],
            git_dir=self.path,
            deadline_s=CLONE_S,
        )


@contextlib.asynccontextmanager
async def quarantine(
    place: Path, target: Repository, outward: Outward
) -> AsyncIterator[Quarantine]:
    """Make one below ``place`` for what is to go to ``target``; it is gone afterwards.

    One at a time for a target: what a killed process left is removed.
    """
    path = place / f"quarantine-{mark(str(target.git_dir))}"
    objects = target.git_dir / "objects"
    await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)
    try:
        with files.translated(path):
            for part in ("refs", "objects/info", "objects/pack"):
                (path / part).mkdir(parents=True)
            (path / "config").write_text(_CONFIG, encoding="ascii")
            (path / "HEAD").write_text("ref: refs/heads/none\n", encoding="ascii")
            (path / "objects/info/alternates").write_text(f"{objects}\n", encoding="utf-8")
            if (target.git_dir / "shallow").exists():
                shutil.copyfile(target.git_dir / "shallow", path / "shallow")
        yield Quarantine(path=path, target=target, outward=outward)
    finally:
        await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)


def _why(said: str) -> str:
    if "stale info" in said:
        return "somebody moved that branch meanwhile"
    return invocation.worst(said)
