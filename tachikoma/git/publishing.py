"""Committing and pushing on the host, by git's plumbing and with a private git directory."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from tachikoma.git import invocation, remotes, worktrees
from tachikoma.git.outward import Outward
from tachikoma.git.port import Commit, Identity, Remote, RemoteHeads, Repository, Worktree
from tachikoma.git.private import PrivateGitDir, private_git_dir
from tachikoma.host import process
from tachikoma.model.errors import GitError, PushFailed, WorktreeError

_STAGE_S = 600.0
_MOST_COMMITS = 50
_STAT_COLUMNS = 72
_UNDER_WAY = ("MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "rebase-merge", "rebase-apply")


class GitPublishing:
    """Implements the port ``Publishing``. ``environ`` is the user's environment."""

    def __init__(self, *, environ: Mapping[str, str]) -> None:
        self._outward = Outward(environ=environ)

    async def uncommitted(self, repository: Repository, worktree: Path) -> tuple[str, ...]:
        """Give the paths that a commit of everything would change."""
        async with _private(repository, worktree) as private:
            staged = ["diff-index", "--cached", "--name-only", "-z", await _head(worktree)]
            listed = await _git(private, worktree, staged)
            found = {path for path in listed.split("\0") if path}
            return tuple(sorted(found | await _changed(private, worktree)))

    async def stat(self, repository: Repository, worktree: Path) -> str:
        """Give the diff stat of what is uncommitted. Stages it."""
        async with _private(repository, worktree) as private:
            tree = await _staged(private, worktree)
            return await _git(
                private,
                worktree,
                [
                    *["diff-tree", "-r", f"--stat={_STAT_COLUMNS}", "--no-color"],
                    *["--no-ext-diff", "--no-textconv", await _head(worktree), tree],
                ],
            )

    async def commit_all(
        self, repository: Repository, worktree: Worktree, *, message: Commit, identity: Identity
    ) -> str:
        """Commit everything that is not ignored; gives the commit id."""
        async with _private(repository, worktree.path) as private:
            tree = await _staged(private, worktree.path)
            head = await self.head(repository, worktree.branch)
            if tree == await _git(private, worktree.path, ["rev-parse", f"{head}^{{tree}}"]):
                return head
            texts = [
                part for text in (message.subject, message.body) if text for part in ("-m", text)
            ]
            commit = await _git(
                private,
                worktree.path,
                ["commit-tree", tree, "-p", head, *texts],
                env={
                    "GIT_AUTHOR_NAME": identity.name,
                    "GIT_AUTHOR_EMAIL": identity.email,
                    "GIT_COMMITTER_NAME": identity.name,
                    "GIT_COMMITTER_EMAIL": identity.email,
                },
            )
        await invocation.git(
            ["update-ref", "-m", "tachikoma pr", f"refs/heads/{worktree.branch}", commit, head],
            cwd=repository.root,
            git_dir=repository.git_dir,
        )
        return commit

    async def head(self, repository: Repository, branch: str) -> str:
        """Give the commit id of a local branch; "" if there is none."""
        done = await invocation.git(
            ["rev-parse", "--quiet", "--verify", f"refs/heads/{branch}^{{commit}}"],
            cwd=repository.root,
            git_dir=repository.git_dir,
            accepted=(0, 1),
        )
        return done.text

    async def heads(self, remote: Remote, branch: str) -> RemoteHeads:
        """Ask the remote what it has; from no repository, so nothing of one is believed."""
        arguments = ["ls-remote", "--symref", "--", remote.url, "HEAD", f"refs/heads/{branch}"]
        done = await self._to_remote(remote, arguments)
        return decode_heads(done.text, branch)

    async def ahead(
        self, repository: Repository, branch: str, remote: Remote, heads: RemoteHeads
    ) -> tuple[Commit, ...]:
        """Give the commits of ``branch`` that the remote's main branch has not, newest first."""
        known = [heads.main_commit, f"refs/remotes/{remote.name}/{heads.main}"]
        base = [found for each in known if each and (found := await _commit(repository, each))]
        done = await invocation.git(
            [
                *["log", f"--max-count={_MOST_COMMITS}", "--no-show-signature", "--no-color"],
                *["--format=%s%x00%b%x00", f"refs/heads/{branch}"],
                *[*(f"^{each}" for each in base[:1]), "--"],
            ],
            cwd=repository.root,
            git_dir=repository.git_dir,
        )
        return decode_log(done.stdout)

    async def push(self, repository: Repository, branch: str, remote: Remote, commit: str) -> None:
        """Send ``commit`` to the remote as ``branch``, and note what it has now."""
        async with private_git_dir(
            repository.git_dir, repository.git_dir, repository.root
        ) as private:
            arguments = ["push", "--porcelain", "--", remote.url, f"{commit}:refs/heads/{branch}"]
            await self._to_remote(remote, arguments, private)
        with contextlib.suppress(GitError):  # only for the user's own `git status`
            where = f"refs/remotes/{remote.name}/{branch}"
            for note in (
                ["update-ref", "-m", "tachikoma pr", where, commit],
                ["branch", f"--set-upstream-to={remote.name}/{branch}", branch],
            ):
                await invocation.git(note, cwd=repository.root, git_dir=repository.git_dir)

    async def _to_remote(
        self, remote: Remote, arguments: Sequence[str], private: PrivateGitDir | None = None
    ) -> process.Completed:
        """Run git where only the user's own configuration holds.

        Raises:
            PushFailed: the remote is none that only carries data, or git ended with an error.
        """
        remotes.check(remote)
        done = await self._outward.git(
            arguments,
            git_dir=private.path if private else None,
            env=private.environment if private else None,
        )
        if done.status != 0:
            raise _refused(remote, f"{process.redacted(done.text)}\n{invocation.words_of(done)}")
        return done


def decode_heads(text: str, branch: str) -> RemoteHeads:
    """Read ``git ls-remote --symref URL HEAD refs/heads/BRANCH``."""
    main, found = "", dict[str, str]()
    for line in text.splitlines():
        first, _, name = line.partition("\t")
        if first.startswith("ref: refs/heads/") and name == "HEAD":
            main = first.removeprefix("ref: refs/heads/")
        else:
            found[name] = first
    return RemoteHeads(main, found.get("HEAD", ""), found.get(f"refs/heads/{branch}", ""))


def decode_log(raw: bytes) -> tuple[Commit, ...]:
    """Read ``git log --format=%s%x00%b%x00``."""
    parts = raw.decode("utf-8", "replace").split("\0")
    pairs = zip(parts[::2], parts[1::2], strict=False)
    return tuple(Commit(subject.strip(), body.strip()) for subject, body in pairs)


def _refused(remote: Remote, told: str) -> PushFailed:
    where, said = remotes.shown(remote.url), told.strip()
    if "non-fast-forward" in said or "fetch first" in said:
        return PushFailed(
            f"{where} has commits of this branch that are not here",
            hint="bring them in first (`git pull --rebase` in the worktree), then run it again",
            details=said,
        )
    return PushFailed(
        f"{where}: {invocation.worst(said) or 'git failed without a word'}",
        hint="tachikoma asks for no password: log in by an SSH agent, or `gh auth setup-git`",
        details=said,
    )


@asynccontextmanager
async def _private(repository: Repository, worktree: Path) -> AsyncIterator[PrivateGitDir]:
    """Give the private git directory of a worktree that is whole and where nothing is under way."""
    admin = worktrees.git_dir_of(worktree)
    if admin is None or not worktrees.is_genuine(repository, worktree):
        raise WorktreeError(
            f"{worktree} is no worktree of {repository.root} any more",
            hint="`git worktree repair` mends one that was moved",
        )
    for name in _UNDER_WAY:
        if (admin / name).exists():
            raise GitError(
                f"{name} in {worktree} says that something is under way there",
                hint="finish it, or abort it (`git merge --abort`, `git rebase --abort`)",
            )
    async with private_git_dir(repository.git_dir, admin, worktree) as private:
        yield private


async def _changed(private: PrivateGitDir, worktree: Path) -> set[str]:
    """List what in the worktree is not staged as it is.

    ``ls-files`` and not ``status``, which would start git in each submodule, with what the
    configuration there names.
    """
    listed = await _git(
        private,
        worktree,
        ["ls-files", "-z", "--modified", "--deleted", "--others", "--exclude-standard"],
    )
    # An untracked repository ends in a slash. It is somebody's clone, not part of the work.
    return {path for path in listed.split("\0") if path and not path.endswith("/")}


async def _staged(private: PrivateGitDir, worktree: Path) -> str:
    """Stage everything and give the tree."""
    paths = await _changed(private, worktree)
    if paths:
        await _git(
            private,
            worktree,
            ["update-index", "--add", "--remove", "--replace", "-z", "--stdin"],
            stdin="".join(f"{path}\0" for path in sorted(paths)).encode("utf-8", "surrogateescape"),
        )
    return await _git(private, worktree, ["write-tree"])


async def _head(worktree: Path) -> str:
    done = await invocation.git(["rev-parse", "--verify", "HEAD^{commit}"], cwd=worktree)
    return done.text


async def _commit(repository: Repository, name: str) -> str:
    """Give the commit id that ``name`` stands for; "" if it is not here."""
    done = await invocation.git(
        ["rev-parse", "--quiet", "--verify", f"{name}^{{commit}}"],
        cwd=repository.root,
        git_dir=repository.git_dir,
        accepted=(0, 1, 128),
    )
    return done.text if done.status == 0 else ""


async def _git(
    private: PrivateGitDir,
    worktree: Path,
    arguments: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    stdin: bytes = b"",
) -> str:
    done = await invocation.git(
        [*private.options, *arguments],
        cwd=worktree,
        git_dir=private.path,
        env={**private.environment, **(env or {})},
        stdin=stdin,
        deadline_s=_STAGE_S,
    )
    return done.text
