"""What every ``Git`` promises."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from tachikoma.git.cli import GitCli
from tachikoma.git.memory import MemoryGit
from tachikoma.git.port import Git, Identity, Origin, Remote, Repository
from tachikoma.host.clock import SystemClock
from tachikoma.model.errors import (
    BranchNameError,
    DetachedHeadError,
    EmptyRepositoryError,
    NotARepositoryError,
    WorktreeError,
)
from tests.doubles import real_git

MOTOKO = Identity("Motoko Kusanagi", "motoko@section9.example")


class World(Protocol):
    """A git and the means to make repositories for it."""

    @property
    def base(self) -> Path: ...

    @property
    def git(self) -> Git: ...

    def repository(self, name: str, *, state: str = "") -> Path: ...

    def branch(self, at: Path, name: str, *, remote: str = "") -> None: ...

    def remote(self, at: Path, url: str) -> None: ...


@dataclass
class MemoryWorld:
    base: Path
    git: MemoryGit

    def repository(self, name: str, *, state: str = "") -> Path:
        path = self.base / name
        self.git.add_repository(
            path,
            branch=None if state == "detached" else "main",
            commit="" if state == "empty" else None,
        )
        return path

    def branch(self, at: Path, name: str, *, remote: str = "") -> None:
        self.git.add_branch(Repository(at.name, at / ".git", at), name, remote=remote)

    def remote(self, at: Path, url: str) -> None:
        self.git.remote_urls[at / ".git"] = url


@dataclass
class RealWorld:
    base: Path
    git: GitCli

    def repository(self, name: str, *, state: str = "") -> Path:
        path = real_git.new_repository(self.base / name, commits=state != "empty")
        if state == "detached":
            real_git.git(path, "switch", "-q", "--detach")
        return path

    def remote(self, at: Path, url: str) -> None:
        real_git.git(at, "remote", "add", "origin", url)

    def branch(self, at: Path, name: str, *, remote: str = "") -> None:
        if not remote:
            real_git.git(at, "branch", name)
            return
        if remote not in real_git.git(at, "remote").split():
            real_git.git(at, "remote", "add", remote, "/nowhere")
        real_git.git(at, "update-ref", f"refs/remotes/{remote}/{name}", "HEAD")


@pytest.fixture(params=["memory", pytest.param("cli", marks=pytest.mark.live)])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    base = tmp_path.resolve()
    if request.param == "memory":
        return MemoryWorld(base, MemoryGit(identity=MOTOKO))
    return RealWorld(base, GitCli(clock=SystemClock(), locks=base / "locks"))


async def test_a_repository_is_found_from_any_directory_in_it(world: World) -> None:
    path = world.repository("my repo ünï")
    (path / "a" / "b").mkdir(parents=True)
    found = await world.git.repository(path / "a" / "b")
    assert found == Repository("my repo ünï", path / ".git", path)


async def test_outside_of_a_repository_there_is_none(world: World) -> None:
    with pytest.raises(NotARepositoryError) as caught:
        await world.git.repository(world.base)
    assert caught.value.hint


async def test_the_current_branch_is_that_of_head(world: World) -> None:
    assert await world.git.current_branch(world.repository("repo")) == "main"


async def test_a_detached_head_is_no_branch(world: World) -> None:
    with pytest.raises(DetachedHeadError):
        await world.git.current_branch(world.repository("repo", state="detached"))


async def test_without_a_commit_there_is_nothing_to_branch_from(world: World) -> None:
    path = world.repository("repo", state="empty")
    repository = await world.git.repository(path)
    with pytest.raises(EmptyRepositoryError):
        await world.git.current_branch(path)
    with pytest.raises(EmptyRepositoryError):
        await world.git.head(path)
    for branch in ("main", "feature"):
        with pytest.raises(EmptyRepositoryError):
            await world.git.ensure_worktree(repository, branch, None)


@pytest.mark.parametrize("name", ["main", "a/b", "feature/ünï-cödé", "x" * 200, "a-b", "@x", "a.b"])
async def test_names_that_git_takes_are_taken(world: World, name: str) -> None:
    await world.git.check_branch_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *("", "x..y", "-x", "--help", "HEAD", "@{-1}", "@", "a b", "a/", "/a", "a//b", ".a"),
        *("a/.b", "a.lock", "a.lock/b", "a.", "a~b", "a^b", "a:b", "a?b", "a*b", "a[b", "a\\b"),
        *("a\nb", "a\0b"),
    ],
)
async def test_names_that_git_refuses_are_refused(world: World, name: str) -> None:
    with pytest.raises(BranchNameError) as caught:
        await world.git.check_branch_name(name)
    assert caught.value.hint
    repository = await world.git.repository(world.repository("repo"))
    with pytest.raises(BranchNameError):
        await world.git.ensure_worktree(repository, name, None)


async def test_a_branch_in_the_main_worktree_stays_there(world: World) -> None:
    path = world.repository("repo")
    repository = await world.git.repository(path)
    made = await world.git.ensure_worktree(repository, "main", None)
    assert (made.path, made.origin, made.start) == (path, Origin.EXISTING, "")


async def test_a_local_branch_gets_a_worktree_beside_the_repository(world: World) -> None:
    path = world.repository("repo")
    world.branch(path, "feature/ünï-cödé")
    repository = await world.git.repository(path)
    made = await world.git.ensure_worktree(repository, "feature/ünï-cödé", None)
    assert (made.path, made.origin) == (world.base / "repo-feature-uni-code", Origin.FROM_LOCAL)
    assert await world.git.current_branch(made.path) == "feature/ünï-cödé"
    assert await world.git.repository(made.path) == repository


async def test_a_worktree_that_is_there_is_given_again(world: World) -> None:
    repository = await world.git.repository(world.repository("repo"))
    assert await world.git.worktree_of(repository, "x") is None
    made = await world.git.ensure_worktree(repository, "x", None)
    again = await world.git.ensure_worktree(repository, "x", None)
    assert (again.path, again.origin, again.start) == (made.path, Origin.EXISTING, "")
    assert await world.git.worktree_of(repository, "x") == again


async def test_a_branch_on_one_remote_is_taken_from_there(world: World) -> None:
    path = world.repository("repo")
    world.branch(path, "a/b", remote="fork")
    repository = await world.git.repository(path)
    made = await world.git.ensure_worktree(repository, "a/b", None)
    assert (made.origin, made.start) == (Origin.FROM_REMOTE, "fork/a/b")


async def test_of_several_remotes_origin_counts(world: World) -> None:
    path = world.repository("repo")
    for remote in ("fork", "origin"):
        world.branch(path, "x", remote=remote)
    made = await world.git.ensure_worktree(await world.git.repository(path), "x", None)
    assert (made.origin, made.start) == (Origin.FROM_REMOTE, "origin/x")


async def test_several_remotes_without_origin_leave_it_to_the_user(world: World) -> None:
    path = world.repository("repo")
    for remote in ("fork", "other"):
        world.branch(path, "x", remote=remote)
    repository = await world.git.repository(path)
    with pytest.raises(WorktreeError):
        await world.git.ensure_worktree(repository, "x", None)


async def test_a_branch_that_is_nowhere_is_made_from_head(world: World) -> None:
    path = world.repository("repo")
    repository = await world.git.repository(path)
    made = await world.git.ensure_worktree(repository, "new", world.base / "else where")
    assert made.path == world.base / "else where" / "repo-new"
    assert made.origin is Origin.FROM_HEAD
    assert made.start == await world.git.head(path) == await world.git.head(made.path)


async def test_branches_with_the_same_slug_get_two_directories(world: World) -> None:
    repository = await world.git.repository(world.repository("repo"))
    first = await world.git.ensure_worktree(repository, "a/b", None)
    second = await world.git.ensure_worktree(repository, "a-b", None)
    assert first.path.name == "repo-a-b"
    assert second.path.name.startswith("repo-a-b-")


async def test_the_identity_is_what_is_configured(world: World) -> None:
    assert await world.git.identity(world.repository("repo")) == MOTOKO


async def test_local_branches_are_listed(world: World) -> None:
    at = world.repository("app")
    for name in ("x", "feature/y"):
        world.branch(at, name)
    world.branch(at, "far", remote="origin")
    repository = await world.git.repository(at)
    assert await world.git.branches(repository) == ("feature/y", "main", "x")


async def test_a_remote_is_told_if_there_is_one(world: World) -> None:
    at = world.repository("app")
    repository = await world.git.repository(at)
    assert await world.git.remote(repository) is None
    world.remote(at, "git@github.com:acme/app.git")
    assert await world.git.remote(repository) == Remote("origin", "git@github.com:acme/app.git")


async def test_a_repository_without_remotes_has_no_urls(world: World) -> None:
    assert await world.git.urls_of_remotes(world.repository("repo")) == ()
