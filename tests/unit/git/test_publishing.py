from __future__ import annotations

import os
from pathlib import Path

import pytest

from tachikoma.git.cli import GitCli
from tachikoma.git.port import Commit, Identity, Remote, RemoteHeads, Repository, Worktree
from tachikoma.git.publishing import GitPublishing, decode_heads, decode_log
from tachikoma.host.clock import SystemClock
from tachikoma.model.errors import GitError, PushFailed
from tests.doubles.real_git import commit, git, new_repository
from tests.unit.git.test_checkout import hostile

ADA = Identity("Ada", "ada@example.org")
MESSAGE = Commit("Do it", "Because.")


def test_the_heads_of_a_remote_are_read() -> None:
    told = "ref: refs/heads/trunk\tHEAD\na1\tHEAD\nb2\trefs/heads/x\n"
    assert decode_heads(told, "x") == RemoteHeads("trunk", "a1", "b2")
    assert decode_heads("", "x") == RemoteHeads("", "", "")


def test_a_log_is_read_with_its_bodies() -> None:
    assert decode_log(b"Two\0body\n\0\nOne\0\0\n") == (Commit("Two", "body"), Commit("One", ""))
    assert decode_log(b"") == ()


class Bench:
    """A repository with the branch ``x`` in a worktree, and a bare remote."""

    def __init__(self, base: Path) -> None:
        self.repo = new_repository(base / "repo")
        git(base, "clone", "-q", "--bare", str(self.repo), "hub.git")
        self.hub = base / "hub.git"
        git(self.repo, "remote", "add", "origin", str(self.hub))
        git(self.repo, "worktree", "add", "-q", "-b", "x", "../work")
        self.path = base / "work"
        self.cli = GitCli(clock=SystemClock(), locks=base / "locks")
        self.publishing = GitPublishing(environ=dict(os.environ))
        self.remote = Remote("origin", str(self.hub))

    async def known(self) -> tuple[Repository, Worktree]:
        repository = await self.cli.repository(self.path)
        worktree = await self.cli.worktree_of(repository, "x")
        assert worktree is not None
        return repository, worktree

    async def commit(self) -> str:
        repository, worktree = await self.known()
        return await self.publishing.commit_all(repository, worktree, message=MESSAGE, identity=ADA)

    async def uncommitted(self) -> tuple[str, ...]:
        return await self.publishing.uncommitted((await self.known())[0], self.path)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path.resolve())


@pytest.mark.live
async def test_everything_that_is_not_ignored_is_committed_under_the_users_name(
    bench: Bench,
) -> None:
    (bench.path / ".gitignore").write_text("*.log\n")
    (bench.path / "new ü").write_text("new")
    (bench.path / "noise.log").write_text("noise")
    (bench.path / "README").unlink()
    (bench.path / "run").write_text("#!/bin/sh\n")
    (bench.path / "run").chmod(0o755)
    git(bench.path, "add", "run")
    assert await bench.uncommitted() == (".gitignore", "README", "new ü", "run")
    assert "4 files changed" in await bench.publishing.stat((await bench.known())[0], bench.path)
    made = await bench.commit()
    assert git(bench.path, "rev-parse", "HEAD") == made
    assert git(bench.path, "status", "--porcelain") == ""
    assert git(bench.path, "log", "-1", "--format=%an %ae %cn %s|%b") == (
        "Ada ada@example.org Ada Do it|Because."
    )
    assert git(bench.path, "ls-tree", "HEAD", "run").startswith("100755")
    assert await bench.uncommitted() == ()


@pytest.mark.live
async def test_a_file_that_became_a_directory_is_committed(bench: Bench) -> None:
    (bench.path / "README").unlink()
    (bench.path / "README").mkdir()
    (bench.path / "README" / "inside").write_text("x")
    await bench.commit()
    assert git(bench.path, "ls-tree", "-r", "--name-only", "HEAD") == "README/inside"


@pytest.mark.live
async def test_nothing_that_changes_nothing_is_committed(bench: Bench) -> None:
    before = git(bench.path, "rev-parse", "HEAD")
    assert await bench.commit() == before


@pytest.mark.live
async def test_a_merge_under_way_is_left_to_its_user(bench: Bench) -> None:
    commit(bench.repo, "README", "main\n")
    commit(bench.path, "README", "branch\n")
    with pytest.raises(Exception, match="merge"):
        git(bench.path, "merge", "main")
    with pytest.raises(GitError, match="MERGE_HEAD") as caught:
        await bench.uncommitted()
    assert "git merge --abort" in caught.value.hint


@pytest.mark.live
async def test_nothing_that_a_guest_wrote_runs_while_committing_and_pushing(bench: Bench) -> None:
    canary = bench.repo.parent / "canary"
    hostile(bench.repo, canary)
    (bench.path / ".gitattributes").write_text("* filter=evil diff=evil merge=evil\n")
    program = bench.repo / "run"
    hooks = bench.repo / ".git" / "hooks"
    for name in ("pre-push", "pre-commit", "commit-msg", "post-commit", "prepare-commit-msg"):
        (hooks / name).write_text(program.read_text())
        (hooks / name).chmod(0o755)
    for key, value in {
        "remote.origin.receivepack": str(program),
        "remote.origin.proxy": "http://127.0.0.1:9",
        "credential.helper": f"!{program}",
        "gpg.program": str(program),
        "commit.gpgSign": "true",
        "log.showSignature": "true",
        "url.ext::sh -c evil.insteadOf": str(bench.hub),
        "core.alternateRefsCommand": str(program),
    }.items():
        git(bench.repo, "config", key, value)
    canary.unlink(missing_ok=True)  # of setting it up
    (bench.path / "work").write_text("done")
    repository, _ = await bench.known()
    assert "2 files changed" in await bench.publishing.stat(repository, bench.path)
    made = await bench.commit()
    heads = await bench.publishing.heads(bench.remote, "x")
    await bench.publishing.ahead(repository, "x", bench.remote, heads)
    await bench.publishing.push(repository, "x", bench.remote, made)
    assert git(bench.hub, "rev-parse", "x") == made
    assert not canary.exists(), canary.read_text()


@pytest.mark.live
async def test_a_submodules_configuration_runs_nothing(bench: Bench, tmp_path: Path) -> None:
    inner = new_repository(tmp_path / "inner")
    git(bench.path, "submodule", "add", "-q", str(inner), "sub")
    git(bench.path, "commit", "-q", "-m", "sub")
    canary = tmp_path / "canary"
    git(bench.path / "sub", "config", "user.name", "A")
    git(bench.path / "sub", "config", "user.email", "a@example.org")
    commit(bench.path / "sub", ".gitattributes", "* filter=evil\n")
    git(bench.path / "sub", "config", "filter.evil.clean", f"touch {canary}; cat")
    git(bench.path / "sub", "config", "core.fsmonitor", f"touch {canary}")
    (bench.path / "sub" / "README").write_text("dirty")
    assert await bench.uncommitted() == ("sub",)
    await bench.commit()
    assert not canary.exists()
    assert git(bench.path, "ls-tree", "HEAD", "sub").split()[2] == git(
        bench.path / "sub", "rev-parse", "HEAD"
    )


@pytest.mark.live
async def test_a_branch_is_pushed_and_what_is_ahead_is_told(bench: Bench) -> None:
    first = commit(bench.path, "one", "1")
    repository, _ = await bench.known()
    heads = await bench.publishing.heads(bench.remote, "x")
    assert (heads.main, heads.branch_commit) == ("main", "")
    ahead = await bench.publishing.ahead(repository, "x", bench.remote, heads)
    assert ahead == (Commit("Change one", ""),)
    await bench.publishing.push(repository, "x", bench.remote, first)
    assert (await bench.publishing.heads(bench.remote, "x")).branch_commit == first
    assert git(bench.path, "status", "-sb") == "## x...origin/x"


@pytest.mark.live
async def test_a_remote_with_other_commits_is_never_overwritten(bench: Bench) -> None:
    repository, _ = await bench.known()
    other = commit(bench.path, "one", "1")
    await bench.publishing.push(repository, "x", bench.remote, other)
    git(bench.path, "reset", "-q", "--hard", "main")
    mine = commit(bench.path, "two", "2")
    with pytest.raises(PushFailed, match="has commits of this branch that are not here"):
        await bench.publishing.push(repository, "x", bench.remote, mine)
    assert git(bench.hub, "rev-parse", "x") == other


@pytest.mark.live
async def test_a_remote_that_is_not_there_is_told(bench: Bench) -> None:
    with pytest.raises(PushFailed, match="nowhere"):
        await bench.publishing.heads(Remote("origin", "/nowhere.git"), "x")


@pytest.mark.live
async def test_a_program_as_remote_is_refused(bench: Bench) -> None:
    with pytest.raises(PushFailed, match="does not push to"):
        await bench.publishing.heads(Remote("origin", "ext::sh -c true"), "x")


@pytest.mark.live
async def test_the_users_own_insteadof_holds_and_the_repositorys_does_not(bench: Bench) -> None:
    named = Remote("origin", "https://hub.example/app.git")
    git(bench.repo, "config", "url./nowhere.insteadOf", named.url)
    git(bench.repo, "config", "--global", f"url.{bench.hub}.insteadOf", named.url)
    assert (await bench.publishing.heads(named, "x")).main == "main"
