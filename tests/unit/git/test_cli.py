from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tachikoma.git.cli import GitCli
from tachikoma.git.port import Origin, Repository
from tachikoma.git.worktrees import UNFINISHED
from tachikoma.host.clock import SystemClock
from tachikoma.model.errors import (
    EmptyRepositoryError,
    GitError,
    NotARepositoryError,
    WorktreeError,
)
from tests.doubles.real_git import commit, git, new_repository

pytestmark = pytest.mark.live


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path.resolve()


@pytest.fixture
def cli(base: Path) -> GitCli:
    return GitCli(clock=SystemClock(), locks=base / "locks")


@pytest.fixture
def repo(base: Path) -> Path:
    return new_repository(base / "repo")


@pytest.fixture
def calls(base: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Count the git processes from here on, by a program called git that goes before the real."""
    real = shutil.which("git")
    (base / "bin").mkdir()
    counter = base / "calls"
    script = base / "bin" / "git"
    script.write_text(f'#!/bin/sh\necho >>"{counter}"\nexec {real} "$@"\n', encoding="utf-8")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{base / 'bin'}:{os.environ['PATH']}")
    return lambda: len(counter.read_bytes()) if counter.exists() else 0


async def test_a_linked_worktree_leads_to_its_repository(cli: GitCli, repo: Path) -> None:
    git(repo, "worktree", "add", "-q", "-b", "x", "../else")
    found = await cli.repository(repo.parent / "else")
    assert found == Repository("repo", repo / ".git", repo)


async def test_a_bare_repository_has_no_main_worktree(cli: GitCli, repo: Path, base: Path) -> None:
    git(base, "clone", "-q", "--bare", str(repo), "tools.git")
    bare = Repository("tools", base / "tools.git", None)
    assert await cli.repository(base / "tools.git") == bare
    made = await cli.ensure_worktree(bare, "main", None)
    assert (made.path, made.origin) == (base / "tools-main", Origin.FROM_LOCAL)
    assert await cli.repository(made.path) == bare
    fresh = await cli.ensure_worktree(bare, "fresh", None)
    assert fresh.start == await cli.head(repo)
    with pytest.raises(NotARepositoryError):
        await cli.current_branch(base / "tools.git")


async def test_a_bare_repository_called_dot_git_is_named_for_its_directory(
    cli: GitCli, repo: Path, base: Path
) -> None:
    (base / "hub").mkdir()
    git(base, "clone", "-q", "--bare", str(repo), "hub/.git")
    bare = Repository("hub", base / "hub" / ".git", None)
    made = await cli.ensure_worktree(bare, "x", None)
    assert await cli.repository(base / "hub") == await cli.repository(made.path) == bare


async def test_within_dot_git_the_repository_is_found(cli: GitCli, repo: Path) -> None:
    assert await cli.repository(repo / ".git" / "refs") == Repository("repo", repo / ".git", repo)


async def test_a_submodule_is_a_repository_of_its_own(cli: GitCli, repo: Path, base: Path) -> None:
    upper = new_repository(base / "upper")
    git(upper, "submodule", "add", "-q", str(repo), "parts/sub")
    found = await cli.repository(upper / "parts" / "sub")
    assert found == Repository("sub", upper / ".git/modules/parts/sub", upper / "parts" / "sub")
    made = await cli.ensure_worktree(found, "main", None)
    assert (made.path, made.origin) == (upper / "parts" / "sub", Origin.EXISTING)
    other = await cli.ensure_worktree(found, "x", None)
    assert other.path == upper / "parts" / "sub-x"
    assert (other.path / "README").read_text() == "hello\n"


async def test_git_dir_in_the_environment_does_not_count(
    cli: GitCli, repo: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(new_repository(base / "other") / ".git"))
    assert (await cli.repository(repo)).name == "repo"


async def test_a_repository_of_another_user_is_refused_with_the_way_out(
    cli: GitCli, repo: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a repository to another user")
    for path in (repo, repo / ".git"):
        os.chown(path, 12345, 12345)
    with pytest.raises(NotARepositoryError) as caught:
        await cli.repository(repo)
    assert f"git config --global --add safe.directory {repo}" in caught.value.hint


async def test_a_directory_that_is_gone_is_no_repository(cli: GitCli, base: Path) -> None:
    with pytest.raises(NotARepositoryError):
        await cli.repository(base / "gone")


async def test_a_file_called_head_does_not_confuse(cli: GitCli, repo: Path) -> None:
    commit(repo, "HEAD", "x")
    assert await cli.current_branch(repo) == "main"


async def test_a_branch_without_a_commit_in_a_linked_worktree_is_empty(
    cli: GitCli, repo: Path
) -> None:
    git(repo, "worktree", "add", "-q", "--detach", "../else")
    git(repo.parent / "else", "switch", "-q", "--orphan", "void")
    with pytest.raises(EmptyRepositoryError):
        await cli.ensure_worktree(await cli.repository(repo), "void", None)


async def test_no_identity_is_none(cli: GitCli, repo: Path) -> None:
    git(repo, "config", "--unset", "user.email")
    assert await cli.identity(repo) is None
    git(repo, "config", "--global", "user.email", "global@section9.example")
    found = await cli.identity(repo)
    assert found is not None
    assert found.email == "global@section9.example"


async def test_reconnecting_from_a_linked_worktree_takes_three_calls(
    cli: GitCli, repo: Path, calls: Callable[[], int]
) -> None:
    made = await cli.ensure_worktree(await cli.repository(repo), "x", None)
    before = calls()
    repository = await cli.repository(made.path)
    branch = await cli.current_branch(made.path)
    await cli.ensure_worktree(repository, branch, None)
    assert calls() - before == 3


async def test_a_config_that_is_not_plain_costs_one_more_call(
    cli: GitCli, repo: Path, calls: Callable[[], int]
) -> None:
    git(repo, "worktree", "add", "-q", "-b", "x", "../else")
    git(repo, "config", "include.path", "more")
    before = calls()
    assert (await cli.repository(repo.parent / "else")).main_worktree == repo
    assert calls() - before == 2


async def test_a_vanished_worktree_is_made_again_and_others_stay_listed(
    cli: GitCli, repo: Path
) -> None:
    repository = await cli.repository(repo)
    made = await cli.ensure_worktree(repository, "x", None)
    git(repo, "worktree", "add", "-q", "-b", "y", "../else-y")
    git(repo, "worktree", "move", str(made.path), "../else-x")
    for path in (repo.parent / "else-x", repo.parent / "else-y"):
        shutil.rmtree(path)
    assert await cli.worktree_of(repository, "x") is None
    again = await cli.ensure_worktree(repository, "x", None)
    assert (again.path, again.origin) == (made.path, Origin.FROM_LOCAL)
    assert (again.path / "README").read_text() == "hello\n"
    assert "else-y" in git(repo, "worktree", "list")


async def test_a_vanished_worktree_that_its_user_locked_is_left_alone(
    cli: GitCli, repo: Path
) -> None:
    git(repo, "worktree", "add", "-q", "-b", "x", "../stick")
    git(repo, "worktree", "lock", "--reason", "on a stick", "../stick")
    shutil.rmtree(repo.parent / "stick")
    with pytest.raises(WorktreeError, match="on a stick"):
        await cli.ensure_worktree(await cli.repository(repo), "x", None)


async def test_a_directory_that_is_something_else_is_left_alone(cli: GitCli, repo: Path) -> None:
    (repo.parent / "repo-x").mkdir()
    (repo.parent / "repo-x" / "mine").touch()
    repository = await cli.repository(repo)
    made = await cli.ensure_worktree(repository, "x", None)
    assert made.path.name.startswith("repo-x-")
    (repo.parent / "repo-y").touch()
    (repo.parent / f"repo-y{made.path.name.removeprefix('repo-x')}").touch()
    assert (await cli.ensure_worktree(repository, "y", None)).path.is_dir()


async def test_without_a_free_directory_the_error_names_it(cli: GitCli, repo: Path) -> None:
    repository = await cli.repository(repo)
    made = await cli.ensure_worktree(repository, "a/b", None)
    marked = (await cli.ensure_worktree(repository, "a-b", None)).path
    git(repo, "worktree", "remove", str(marked))
    marked.touch()
    with pytest.raises(WorktreeError, match=str(made.path)):
        await cli.ensure_worktree(repository, "a-b", None)


async def test_a_branch_within_the_name_of_another_is_explained(cli: GitCli, repo: Path) -> None:
    git(repo, "branch", "a")
    with pytest.raises(WorktreeError, match="both a branch a and a branch a/b"):
        await cli.ensure_worktree(await cli.repository(repo), "a/b", None)
    assert not (repo.parent / "repo-a-b").exists()


async def test_a_branch_that_is_being_rebased_is_left_alone(cli: GitCli, repo: Path) -> None:
    git(repo, "switch", "-q", "-c", "x")
    commit(repo, "f", "1")
    git(repo, "-c", "sequence.editor=sed -i 1s/pick/edit/", "rebase", "-q", "-i", "HEAD~1")
    with pytest.raises(WorktreeError, match="in use by another worktree"):
        await cli.ensure_worktree(await cli.repository(repo), "x", None)


async def test_a_forged_worktree_is_not_believed(cli: GitCli, repo: Path, base: Path) -> None:
    """A guest could choose a directory of the host to be shared with the next VM."""
    secrets = base / "secrets"
    secrets.mkdir()
    admin = repo / ".git" / "worktrees" / "evil"
    admin.mkdir(parents=True)
    (admin / "gitdir").write_text(f"{secrets}/.git\n")
    (admin / "commondir").write_text("../..\n")
    (admin / "HEAD").write_text("ref: refs/heads/x\n")
    git(repo, "update-ref", "refs/heads/x", "HEAD")
    repository = await cli.repository(repo)
    assert await cli.worktree_of(repository, "x") is None
    with pytest.raises(WorktreeError, match="no worktree of this repository"):
        await cli.ensure_worktree(repository, "x", None)


async def test_a_forged_main_worktree_is_not_believed(cli: GitCli, repo: Path, base: Path) -> None:
    (base / "secrets").mkdir()
    git(repo, "config", "core.worktree", str(base / "secrets"))
    assert (await cli.repository(repo)).main_worktree == repo


async def test_worktrees_that_lead_elsewhere_are_refused(
    cli: GitCli, repo: Path, base: Path
) -> None:
    (base / "elsewhere").mkdir()
    (repo / ".git" / "worktrees").symlink_to(base / "elsewhere")
    with pytest.raises(WorktreeError, match="symbolic link"):
        await cli.ensure_worktree(await cli.repository(repo), "x", None)


async def test_a_checkout_that_was_killed_is_finished(cli: GitCli, repo: Path) -> None:
    git(repo, "branch", "x")
    reason = ["--lock", "--reason", UNFINISHED]
    git(repo, "worktree", "add", "-q", "--no-checkout", *reason, "../repo-x", "x")
    repository = await cli.repository(repo)
    assert await cli.worktree_of(repository, "x") is None
    made = await cli.ensure_worktree(repository, "x", None)
    assert made.path == repo.parent / "repo-x"
    assert git(made.path, "status", "--porcelain") == ""
    assert "locked" not in git(repo, "worktree", "list", "--porcelain")
    assert (await cli.ensure_worktree(repository, "x", None)).origin is Origin.EXISTING


@pytest.mark.parametrize("directory", ["absent", "empty", "with .git"])
async def test_what_was_killed_before_it_had_a_branch_is_made_anew(
    cli: GitCli, repo: Path, directory: str
) -> None:
    admin, path = repo / ".git" / "worktrees" / "repo-x", repo.parent / "repo-x"
    admin.mkdir(parents=True)
    (admin / "locked").write_text(UNFINISHED)
    (admin / "gitdir").write_text(f"{path}/.git\n")
    (admin / "commondir").write_text("../..\n")
    (admin / "HEAD").write_text("0" * 40 + "\n")
    if directory != "absent":
        path.mkdir()
    if directory == "with .git":
        (path / ".git").write_text(f"gitdir: {admin}\n")
    made = await cli.ensure_worktree(await cli.repository(repo), "x", None)
    assert made.path == path
    assert git(path, "status", "--porcelain") == ""
    assert git(repo, "worktree", "list", "--porcelain").count("worktree ") == 2


async def test_a_killed_maker_whose_directory_is_gone_is_forgotten(cli: GitCli, repo: Path) -> None:
    reason = ["--lock", "--reason", UNFINISHED]
    git(repo, "worktree", "add", "-q", "--no-checkout", *reason, "-b", "x", "../gone")
    shutil.rmtree(repo.parent / "gone")
    made = await cli.ensure_worktree(await cli.repository(repo), "x", None)
    assert made.path == repo.parent / "repo-x"


async def test_a_failed_checkout_leaves_nothing_half_done(cli: GitCli, repo: Path) -> None:
    blob = git(repo, "rev-parse", "HEAD:README")
    (repo / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    with pytest.raises(WorktreeError) as caught:
        await cli.ensure_worktree(await cli.repository(repo), "x", None)
    assert caught.value.hint
    assert not (repo.parent / "repo-x").exists()
    assert git(repo, "branch", "--list", "x") == ""
    assert git(repo, "worktree", "list", "--porcelain").count("worktree ") == 1


async def test_many_at_once_make_one_worktree(cli: GitCli, repo: Path, base: Path) -> None:
    others = [GitCli(clock=SystemClock(), locks=base / "locks") for _ in range(4)]
    repository = await cli.repository(repo)
    made = await asyncio.gather(*(o.ensure_worktree(repository, "x", None) for o in others))
    assert len({worktree.path for worktree in made}) == 1
    assert sorted(worktree.origin for worktree in made) == ["existing"] * 3 + ["from_head"]


async def test_a_branch_from_a_remote_tracks_it(cli: GitCli, repo: Path, base: Path) -> None:
    git(repo, "branch", "x")
    git(base, "clone", "-q", str(repo), "copy")
    made = await cli.ensure_worktree(await cli.repository(base / "copy"), "x", None)
    assert made.origin is Origin.FROM_REMOTE
    assert git(made.path, "rev-parse", "--abbrev-ref", "x@{upstream}") == "origin/x"


async def test_a_tag_of_the_same_name_changes_nothing(cli: GitCli, repo: Path) -> None:
    git(repo, "tag", "x")
    latest = commit(repo, "f", "2")
    git(repo, "branch", "x")
    made = await cli.ensure_worktree(await cli.repository(repo), "x", None)
    assert (made.origin, await cli.head(made.path)) == (Origin.FROM_LOCAL, latest)
    assert git(made.path, "status", "--porcelain") == ""


async def test_a_repository_that_vanished_meanwhile_is_an_error(cli: GitCli, repo: Path) -> None:
    repository = await cli.repository(repo)
    shutil.rmtree(repo / ".git")
    with pytest.raises(GitError):
        await cli.ensure_worktree(repository, "x", None)
