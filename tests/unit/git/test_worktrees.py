from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tachikoma.git.port import Repository
from tachikoma.git.worktrees import UNFINISHED, Entry, decode_list, git_dir_of, is_genuine

COMMIT = "251a78777bdaa2302d10c0601b173a78a08bda7d"


def record(*lines: str) -> str:
    return "".join(f"{line}\0" for line in lines) + "\0"


def test_the_list_is_read_whole() -> None:
    raw = (
        record("worktree /r", f"HEAD {COMMIT}", "branch refs/heads/a/b")
        + record("worktree /line\nbreak", f"HEAD {COMMIT}", "detached")
        + record("worktree /w", f"HEAD {'0' * 40}", "branch refs/heads/x", f"locked {UNFINISHED}")
        + record("worktree /u", f"HEAD {COMMIT}", "branch refs/heads/y", "locked", "prunable gone")
    )
    assert decode_list(raw.encode()) == [
        Entry(Path("/r"), COMMIT, "a/b"),
        Entry(Path("/line\nbreak"), COMMIT),
        Entry(Path("/w"), "0" * 40, "x", lock=UNFINISHED),
        Entry(Path("/u"), COMMIT, "y", lock=""),
    ]


def test_a_bare_repository_has_no_head() -> None:
    [entry] = decode_list(record("worktree /r.git", "bare").encode())
    assert entry == Entry(Path("/r.git"), "", bare=True)
    assert not entry.unborn


def test_a_branch_without_a_commit_is_unborn() -> None:
    assert Entry(Path("/r"), "0" * 40, "main").unborn
    assert not Entry(Path("/r"), COMMIT, "main").unborn


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
def test_any_path_is_read_as_it_is(path: str) -> None:
    [entry] = decode_list(record(f"worktree /{path}", f"HEAD {COMMIT}").encode())
    assert str(entry.path) == str(Path(f"/{path}"))


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    base = tmp_path.resolve()
    (base / "repo" / ".git" / "worktrees" / "x").mkdir(parents=True)
    return Repository("repo", base / "repo" / ".git", base / "repo")


def linked(repository: Repository, target: str) -> Path:
    path = repository.root.parent / "x"
    path.mkdir()
    (path / ".git").write_text(target, encoding="utf-8")
    return path


def test_a_worktree_that_leads_back_is_genuine(repository: Repository) -> None:
    assert is_genuine(repository, linked(repository, "gitdir: ../repo/.git/worktrees/x\n"))
    assert is_genuine(repository, repository.root)


@pytest.mark.parametrize(
    "target", ["gitdir: /elsewhere/.git/worktrees/x", "gitdir: ../repo/.git", "nonsense", ""]
)
def test_a_worktree_that_leads_elsewhere_is_not(repository: Repository, target: str) -> None:
    assert not is_genuine(repository, linked(repository, target))


def test_a_directory_without_a_link_is_not(repository: Repository, tmp_path: Path) -> None:
    assert git_dir_of(tmp_path) is None
    assert not is_genuine(repository, tmp_path)
