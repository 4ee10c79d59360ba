from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tachikoma.git.linked import Head, admin_of, check_objects, commit_arguments, opened
from tachikoma.git.port import Commit
from tachikoma.host.clock import SystemClock
from tachikoma.model.errors import GitError, WorktreeError
from tests.doubles.real_git import commit, git, new_repository


def test_a_message_is_made_fit_for_git() -> None:
    assert commit_arguments("t", ["p", "q"], Commit("--a\0b", "x\ud800")) == [
        *("commit-tree", "t", "-p", "p", "-p", "q", "-m", "--a b", "-m", "x?"),
    ]
    assert commit_arguments("t", [], Commit("", "")) == ["commit-tree", "t"]


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A bare repository with the branch ``x`` checked out in ``task-x``."""
    base = tmp_path.resolve()
    new_repository(base / "hub")
    git(base, "clone", "-q", "--bare", str(base / "hub"), "repo")
    git(base / "repo", "worktree", "add", "-q", "-b", "x", str(base / "task-x"))
    for key, value in {"user.name": "Agent", "user.email": "agent@example.org"}.items():
        git(base / "repo", "config", key, value)
    return base / "repo"


@pytest.fixture
def tree(repo: Path) -> Path:
    return repo.parent / "task-x"


def admin(repo: Path) -> Path:
    return repo / "worktrees" / "task-x"


@pytest.mark.live
async def test_head_is_on_a_branch_at_a_commit_or_nowhere(repo: Path, tree: Path) -> None:
    commit_id = git(tree, "rev-parse", "HEAD")
    async with opened(repo, tree) as held:
        assert await held.head() == Head("x", commit_id)
        git(tree, "switch", "-q", "--detach")
        assert await held.head() == Head("", commit_id)
        git(tree, "switch", "-q", "--orphan", "empty")
        assert await held.head() == Head("empty", "")
        (admin(repo) / "HEAD").write_text("nonsense\n")
        assert await held.head() == Head("", "")


@pytest.mark.live
async def test_an_index_that_is_a_link_leads_nobody_to_a_file_of_the_host(
    repo: Path, tree: Path
) -> None:
    victim = repo.parent / "victim"
    victim.write_text("precious")
    (admin(repo) / "index").unlink()
    (admin(repo) / "index").symlink_to(victim)
    async with opened(repo, tree) as held:
        await held.fill(git(tree, "rev-parse", "HEAD"))
        held.put_back_index()
        held.write("MERGE_MSG", "text")
    assert victim.read_text() == "precious"
    assert not (admin(repo) / "index").is_symlink()
    assert git(tree, "status", "--porcelain") == ""


@pytest.mark.live
async def test_state_files_are_neither_read_nor_written_through_links(
    repo: Path, tree: Path
) -> None:
    victim = repo.parent / "victim"
    victim.write_text("0" * 40)
    (admin(repo) / "MERGE_HEAD").symlink_to(victim)
    async with opened(repo, tree) as held:
        assert held.merging() == ()
        assert held.has("MERGE_HEAD")
        held.write("MERGE_HEAD", "text")
        assert held.read("MERGE_HEAD") == "text"
        held.remove("MERGE_HEAD", "MERGE_HEAD")
        assert not held.has("MERGE_HEAD")
    assert victim.read_text() == "0" * 40


@pytest.mark.live
async def test_everything_is_staged_in_a_copy_and_the_worktree_is_as_it_was(
    repo: Path, tree: Path
) -> None:
    (tree / ".gitignore").write_text("*.log\n")
    (tree / "noise.log").write_text("noise")
    (tree / "new\nü").write_text("new")
    (tree / "README").unlink()
    shutil.copytree(repo.parent / "hub", tree / "clone")
    before = git(tree, "status", "--porcelain")
    async with opened(repo, tree) as held:
        made = await held.stage_everything()
        assert await held.clones_within() == ("clone/",)
    assert git(repo, "ls-tree", "-z", "--name-only", made).split("\0") == [
        ".gitignore",
        "new\nü",
        "",
    ]
    assert git(tree, "status", "--porcelain") == before


@pytest.mark.live
async def test_a_worktree_whose_git_file_the_agent_replaced_is_still_known(
    repo: Path, tree: Path
) -> None:
    (tree / ".git").unlink()
    assert admin_of(repo, tree) == ("worktrees", "task-x")
    git(tree, "init", "-q")
    async with opened(repo, tree) as held:
        assert (await held.head()).branch == "x"
    shutil.rmtree(tree / ".git")
    (tree / ".git").write_text(f"gitdir: {repo.parent / 'hub' / '.git'}\n")
    assert admin_of(repo, tree) == ("worktrees", "task-x")


@pytest.mark.live
async def test_what_is_no_worktree_is_refused(repo: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with pytest.raises(WorktreeError, match="no worktree"):
        async with opened(repo, tmp_path / "other"):
            pytest.fail("opened")
    shutil.move(admin(repo), repo.parent / "elsewhere")
    admin(repo).symlink_to(repo.parent / "elsewhere")
    assert admin_of(repo, repo.parent / "task-x") is None


@pytest.mark.parametrize("trick", ["info/alternates", "pack", "ab"])
@pytest.mark.live
async def test_objects_of_another_repository_are_not_read(
    repo: Path, tree: Path, trick: str
) -> None:
    check_objects(repo)
    other = repo.parent / "hub" / ".git" / "objects"
    place = repo / "objects" / trick
    if trick == "info/alternates":
        place.write_text(f"{other}\n")
    else:
        shutil.rmtree(place, ignore_errors=True)
        place.symlink_to(other / "pack")
    with pytest.raises(GitError, match="another repository"):
        async with opened(repo, tree):
            pytest.fail("opened")


@pytest.mark.live
async def test_changes_of_tracked_files_are_found_staged_or_not(repo: Path, tree: Path) -> None:
    commit(tree, "a", "a")
    commit(tree, "b", "b")
    head = git(tree, "rev-parse", "HEAD")
    (tree / "a").write_text("changed")
    (tree / "untracked").write_text("x")
    git(tree, "rm", "-q", "b")
    async with opened(repo, tree) as held:
        assert await held.tracked_changes(head) == ("a", "b")


@pytest.mark.live
async def test_a_change_in_the_second_of_a_commit_is_found_later(repo: Path, tree: Path) -> None:
    clock, index = SystemClock(), admin(repo) / "index"
    while True:
        await clock.sleep(1.02 - clock.now() % 1)  # a second has just begun
        number = int(clock.now()) % 1000
        commit(tree, "code", f"one {number:03}\n")
        (tree / "code").write_text(f"two {number:03}\n")
        if int((tree / "code").stat().st_ctime) == int(index.stat().st_mtime):
            break
    await clock.sleep(1.02 - clock.now() % 1)
    async with opened(repo, tree) as held:
        assert await held.tracked_changes(git(tree, "rev-parse", "HEAD")) == ("code",)
