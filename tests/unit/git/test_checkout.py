from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tachikoma.git.cli import GitCli
from tachikoma.git.port import Worktree
from tachikoma.git.private import decode_settings
from tachikoma.host.clock import SystemClock
from tachikoma.host.process import Completed
from tachikoma.model.errors import DiskFullError, TachikomaError
from tests.doubles.real_git import commit, git, new_repository


def settings(*parts: str) -> dict[str, str]:
    raw = "".join(f"{part}\0" for part in parts).encode()
    return decode_settings(Completed(("git",), 0, raw, b""))


def test_the_repositorys_plain_settings_count_and_the_last_one_wins() -> None:
    assert settings(
        *("global", "core.eol\ncrlf"),
        *("local", "core.autocrlf\ninput"),
        *("local", "core.symlinks"),
        *("worktree", "core.autocrlf\nfalse"),
    ) == {"core.autocrlf": "false", "core.symlinks": "true"}


def test_a_value_that_is_no_plain_word_is_left_out() -> None:
    assert settings("local", "extensions.objectformat\nsha1\n[filter") == {}


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return new_repository(tmp_path.resolve() / "repo")


async def checked_out(repo: Path, branch: str = "x") -> Worktree:
    cli = GitCli(clock=SystemClock(), locks=repo.parent / "locks")
    return await cli.ensure_worktree(await cli.repository(repo), branch, None)


def hostile(repo: Path, canary: Path) -> None:
    """Write everything that a guest could write to have the host run something."""
    commit(repo, ".gitattributes", "* filter=evil diff=evil merge=evil\n")
    hostile_config(repo / ".git", canary, program=repo / "run")


def hostile_config(git_dir: Path, canary: Path, *, program: Path) -> None:
    """Write what a guest could write to a git directory; ``program`` is made, and tells on
    whoever runs it.
    """
    repo = git_dir
    program.write_text(f'#!/bin/sh\necho "$0" "$@" >>"{canary}"\ncat\n', encoding="utf-8")
    program.chmod(0o755)
    hooks = git_dir / "hooks"
    hooks.mkdir(exist_ok=True)
    for name in (
        *("post-checkout", "pre-commit", "reference-transaction", "post-index-change"),
        *("fsmonitor-watchman", "pre-auto-gc", "post-merge", "post-rewrite"),
    ):
        (hooks / name).write_text(program.read_text(), encoding="utf-8")
        (hooks / name).chmod(0o755)
    for key in (
        *("core.fsmonitor", "core.pager", "core.editor", "core.sshCommand", "core.askPass"),
        *("core.gitProxy", "core.alternateRefsCommand", "sequence.editor", "gpg.program"),
        *("filter.evil.smudge", "filter.evil.clean", "filter.evil.process"),
        *("diff.external", "diff.evil.command", "diff.evil.textconv", "merge.evil.driver"),
        *("remote.origin.uploadpack", "uploadpack.packObjectsHook", "interactive.diffFilter"),
    ):
        git(repo, "config", key, str(program))
    for name in ("rev-parse", "worktree", "config", "read-tree", "for-each-ref"):
        git(repo, "config", f"alias.{name}", f"!{program}")
    git(repo, "config", "core.hooksPath", str(hooks))
    git(repo, "config", "filter.evil.required", "true")
    git(repo, "config", "credential.helper", f"!{program}")
    git(repo, "config", "protocol.ext.allow", "always")
    git(repo, "config", "submodule.recurse", "true")
    if git_dir.name == ".git":  # the worktrees of a bare repository would be bare themselves
        git(repo, "config", "extensions.worktreeConfig", "true")
    (git_dir / "config.worktree").write_text(f'[filter "evil"]\n\tsmudge = {program}\n')
    (git_dir / "more").write_text(f'[filter "evil"]\n\tprocess = {program}\n')
    git(repo, "config", "include.path", "more")
    # A repository that lacks objects and would fetch them by running a program.
    git(repo, "config", "core.repositoryFormatVersion", "1")
    git(repo, "config", "remote.origin.url", f"ext::{program}")
    git(repo, "config", "remote.origin.promisor", "true")
    git(repo, "config", "extensions.partialClone", "origin")
    canary.unlink(missing_ok=True)


@pytest.mark.live
async def test_nothing_that_a_guest_wrote_to_the_repository_is_run(repo: Path) -> None:
    canary = repo.parent / "canary"
    hostile(repo, canary)
    cli = GitCli(clock=SystemClock(), locks=repo.parent / "locks")
    repository = await cli.repository(repo)
    assert await cli.current_branch(repo) == "main"
    assert await cli.worktree_of(repository, "main") is not None
    assert await cli.identity(repo) is not None
    git(repo, "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=", "branch", "local")
    for branch in ("local", "new"):
        made = await cli.ensure_worktree(repository, branch, None)
        assert (made.path / "README").read_text() == "hello\n"
        assert await cli.head(made.path) == await cli.head(repo)
        assert await cli.repository(made.path) == repository
        assert await cli.current_branch(made.path) == branch
    assert not canary.exists(), canary.read_text()


@pytest.mark.live
async def test_the_hostile_repository_would_have_run_things(repo: Path) -> None:
    """Otherwise the test above shows nothing."""
    canary = repo.parent / "canary"
    hostile(repo, canary)
    with pytest.raises(Exception, match="git"):
        git(repo, "worktree", "add", "-q", "-b", "x", "../plain")
    assert canary.exists()


@pytest.mark.live
async def test_missing_objects_are_not_fetched_from_where_a_guest_says(repo: Path) -> None:
    canary = repo.parent / "canary"
    hostile(repo, canary)
    blob = git(repo, "-c", "core.fsmonitor=", "rev-parse", "HEAD:README")
    (repo / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    canary.unlink(missing_ok=True)
    with pytest.raises(TachikomaError):
        await checked_out(repo)
    assert not canary.exists(), canary.read_text()


@pytest.mark.live
async def test_a_filter_of_the_users_own_configuration_works(repo: Path) -> None:
    git(repo, "config", "--global", "filter.up.smudge", "tr a-z A-Z")
    commit(repo, ".gitattributes", "*.txt filter=up\n")
    commit(repo, "a.txt", "abc\n")
    assert ((await checked_out(repo)).path / "a.txt").read_text() == "ABC\n"


@pytest.mark.live
async def test_line_ends_and_local_attributes_are_as_the_repository_wants(repo: Path) -> None:
    commit(repo, "a.txt", "1\n2\n")
    git(repo, "config", "core.autocrlf", "true")
    (repo / ".git" / "info" / "attributes").write_text("README -text\n")
    made = await checked_out(repo)
    assert (made.path / "a.txt").read_bytes() == b"1\r\n2\r\n"
    assert (made.path / "README").read_bytes() == b"hello\n"
    assert git(made.path, "status", "--porcelain") == ""


@pytest.mark.live
async def test_a_sha256_repository_is_checked_out(tmp_path: Path) -> None:
    repo = tmp_path.resolve() / "new"
    repo.mkdir()
    git(repo, "init", "-q", "-b", "main", "--object-format=sha256")
    git(repo, "config", "user.name", "M")
    git(repo, "config", "user.email", "m@x")
    commit(repo, "f", "1\n")
    made = await checked_out(repo)
    assert git(made.path, "status", "--porcelain") == ""


@pytest.mark.live
async def test_a_sparse_checkout_stays_sparse(repo: Path) -> None:
    for name in ("in", "out"):
        (repo / name).mkdir()
        commit(repo, f"{name}/f", "1\n")
    git(repo, "sparse-checkout", "set", "in")
    made = await checked_out(repo)
    assert (made.path / "in" / "f").exists()
    assert not (made.path / "out").exists()
    assert git(made.path, "status", "--porcelain") == ""


@pytest.mark.live
async def test_a_full_disk_is_told_and_nothing_half_done_is_left(
    repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a git that writes half a file and then says what the real one says."""
    (repo.parent / "bin").mkdir()
    program = repo.parent / "bin" / "git"
    program.write_text(
        "#!/bin/sh\n"
        f'case "$*" in *read-tree*) echo half >README; '
        "echo 'error: unable to write file README: No space left on device' >&2; exit 128;; esac\n"
        f'exec {shutil.which("git")} "$@"\n',
        encoding="utf-8",
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    with pytest.raises(DiskFullError):
        await checked_out(repo)
    assert not (repo.parent / "repo-x").exists()
    assert git(repo, "branch", "--list", "x") == ""
    assert git(repo, "worktree", "list", "--porcelain").count("worktree ") == 1
