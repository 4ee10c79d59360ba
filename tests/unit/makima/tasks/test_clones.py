from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tachikoma.git.port import Identity
from tachikoma.makima.tasks.clones import name_of, whole_url
from tachikoma.model.errors import GitError
from tachikoma.model.errors_fleet import WorkspaceError
from tests.doubles.real_git import commit, git, new_repository
from tests.doubles.task_bench import FIRST, Bench


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://github.com/me/repo.git", "repo"),
        ("https://me:secret@example.org/Big Repo/", "big-repo"),
        ("git@github.com:me/repo", "repo"),
        ("host:repo.git", "repo"),
        ("/srv/job/.git", "job"),
        ("file:///srv/x.git", "x"),
    ],
)
def test_a_clone_is_called_as_its_repository(url: str, name: str) -> None:
    assert name_of(url) == name


def test_a_home_directory_is_expanded_and_a_relative_path_refused(own_home: Path) -> None:
    assert whole_url("~/x") == str(own_home / "x")
    assert whole_url(" https://h/x ") == "https://h/x"
    assert whole_url("git@h:x") == "git@h:x"
    for url in ("x/y", "", ".", "/a\0b"):
        with pytest.raises(WorkspaceError, match="no address"):
            whole_url(url)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path.resolve())


@pytest.mark.live
async def test_the_remotes_main_branch_or_the_named_one_is_the_base(bench: Bench) -> None:
    older = git(bench.hub, "rev-parse", "HEAD~1")
    git(bench.hub, "branch", "-f", "develop", older)
    base = await bench.clones.base(str(bench.hub), None)
    assert (base.repository, base.commit, base.notices) == (
        bench.repos / "hub",
        git(bench.hub, "rev-parse", "main"),
        (),
    )
    assert (await bench.clones.base(str(bench.hub), "develop")).commit == older


@pytest.mark.live
async def test_a_second_task_gets_what_is_new_and_what_is_gone_goes(bench: Bench) -> None:
    path = (await bench.clones.base(str(bench.hub), None)).repository
    new = commit(bench.hub, "later", "x")
    git(bench.hub, "branch", "-D", "develop")
    git(bench.hub, "tag", "v1")
    git(path, "update-ref", "refs/heads/makima/task-1", "refs/remotes/origin/main")
    kept = git(path, "rev-parse", "makima/task-1")
    assert (await bench.clones.base(str(bench.hub), None)).commit == new
    assert git(path, "for-each-ref", "--format=%(refname) %(objectname)") == "\n".join(
        [
            f"refs/heads/makima/task-1 {kept}",
            f"refs/remotes/origin/HEAD {new}",
            f"refs/remotes/origin/main {new}",
            f"refs/tags/v1 {new}",
        ]
    )


@pytest.mark.live
async def test_a_branch_that_is_not_there_is_named_with_some_that_are(bench: Bench) -> None:
    with pytest.raises(WorkspaceError, match="no branch nope") as caught:
        await bench.clones.base(str(bench.hub), "nope")
    assert caught.value.hint == "there are develop, main"


@pytest.mark.live
async def test_a_remote_that_is_away_is_no_error_while_its_branch_is_here(bench: Bench) -> None:
    first = await bench.clones.base(str(bench.hub), None)
    bench.hub.rename(bench.base / "away")
    again = await bench.clones.base(str(bench.hub), None)
    assert again.commit == first.commit
    assert "could not be fetched" in again.notices[0]
    with pytest.raises(GitError, match="hub"):
        await bench.clones.base(str(bench.hub), "nope")


@pytest.mark.live
async def test_a_remote_that_never_answered_is_an_error_and_leaves_nothing(bench: Bench) -> None:
    with pytest.raises(GitError, match="nowhere"):
        await bench.clones.base(str(bench.base / "nowhere"), None)
    assert [path.name for path in bench.repos.iterdir()] == [".host"]


@pytest.mark.live
async def test_an_empty_remote_is_told_as_such(bench: Bench) -> None:
    empty = new_repository(bench.base / "empty", commits=False)
    with pytest.raises(WorkspaceError, match="no commit"):
        await bench.clones.base(str(empty), None)


@pytest.mark.live
async def test_two_repositories_of_one_name_get_two_clones(bench: Bench) -> None:
    other = new_repository(bench.base / "other" / "hub")
    commit(other, "else", "x")
    first = await bench.clones.base(str(bench.hub), None)
    second = await bench.clones.base(f"file://{other}", None)
    assert first.repository.name == "hub"
    assert second.repository.name.startswith("hub-")
    assert second.commit == git(other, "rev-parse", "HEAD")
    assert bench.clones.is_of(first.repository, f"{bench.hub}/")
    assert not bench.clones.is_of(second.repository, str(bench.hub))
    git(bench.base, "clone", "-q", "--bare", str(bench.hub), "bare.git")
    third = await bench.clones.base(f"{bench.base}/bare.git", None)
    assert bench.clones.url_of(third.repository) == f"{bench.base}/bare.git"
    assert bench.clones.is_of(third.repository, f"{bench.base}/bare")
    assert bench.clones.url_of(bench.repos / "none") == ""


@pytest.mark.live
async def test_what_an_agent_did_to_the_clones_branches_is_not_where_a_task_starts(
    bench: Bench,
) -> None:
    base = await bench.clones.base(str(bench.hub), None)
    older = git(bench.hub, "rev-parse", "HEAD~1")
    git(base.repository, "update-ref", "refs/remotes/origin/main", older)
    git(base.repository, "config", "remote.origin.url", "ext::touch evil")
    bench.hub.rename(bench.base / "away")
    assert (await bench.clones.base(str(bench.hub), None)).commit == base.commit


@pytest.mark.live
async def test_objects_that_an_agent_removed_are_fetched_again(bench: Bench) -> None:
    base = await bench.clones.base(str(bench.hub), None)
    shutil.rmtree(base.repository / "objects")
    (base.repository / "objects" / "pack").mkdir(parents=True)
    commit(bench.hub, "later", "x")
    again = await bench.clones.base(str(bench.hub), None)
    assert git(base.repository, "cat-file", "-t", again.commit) == "commit"
    assert again.notices == ()


@pytest.mark.live
async def test_a_task_without_a_repository_gets_an_empty_one(bench: Bench) -> None:
    base = await bench.clones.fresh(FIRST, Identity("Ada", "ada@example.org"))
    assert await bench.clones.fresh(FIRST, Identity("Bob", "bob@example.org")) == base
    assert git(base.repository, "log", "--format=%an %s", base.commit) == "Ada An empty start"
    assert git(base.repository, "ls-tree", base.commit) == ""
