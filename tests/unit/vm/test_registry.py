from __future__ import annotations

from pathlib import Path

import pytest

from tachikoma.git.port import Origin, Repository, Worktree
from tachikoma.model.errors import VmNotFoundError
from tachikoma.model.names import VmName
from tachikoma.state.port import Ledger, VmRecord
from tachikoma.vm import registry


def repository(at: str = "/src/app") -> Repository:
    return Repository(Path(at).name, Path(at) / ".git", Path(at))


def claim(
    ledger: Ledger,
    branch: str,
    *,
    at: str = "/src/app",
    worktree: str = "",
    taken: tuple[str, ...] = (),
) -> VmRecord:
    path = Path(worktree or f"{at}-{branch}")
    fresh = VmRecord(
        name=VmName(""),
        repository=Path(at) / ".git",
        repository_name=Path(at).name,
        branch=branch,
        worktree=path,
        engine="synthetic",
        image="synthetic",
        created=1.0,
        last_used=1.0,
    )
    return registry.claim(
        ledger,
        repository(at),
        Worktree(branch, path, Origin.EXISTING),
        taken=[VmName(name) for name in taken],
        fresh=fresh,
    )


def test_the_first_branch_gets_the_simple_name() -> None:
    assert claim(Ledger(), "a/b").name == "tachikoma-app-a-b"


def test_a_branch_whose_slug_is_taken_gets_another_name_and_keeps_it() -> None:
    ledger = Ledger()
    claim(ledger, "a/b")
    other = claim(ledger, "a-b")
    assert other.name.startswith("tachikoma-app-a-b-")
    assert claim(ledger, "a-b") == other
    assert claim(ledger, "a/b").name == "tachikoma-app-a-b"


def test_two_repositories_of_one_name_never_share_a_vm() -> None:
    ledger = Ledger()
    assert claim(ledger, "main", at="/src/app").name != claim(ledger, "main", at="/other/app").name


def test_a_vm_without_a_record_keeps_its_name() -> None:
    assert claim(Ledger(), "main", taken=("tachikoma-app-main",)).name != "tachikoma-app-main"


def test_a_worktree_that_moved_is_noted() -> None:
    ledger = Ledger()
    claim(ledger, "main")
    assert claim(ledger, "main", worktree="/elsewhere").worktree == Path("/elsewhere")


def test_a_name_means_a_vm_then_a_branch_here_then_a_branch_anywhere() -> None:
    ledger = Ledger()
    here, there = claim(ledger, "main", at="/a/app"), claim(ledger, "main", at="/b/app")
    only = claim(ledger, "topic", at="/b/app")
    assert registry.of_name(ledger, there.name, Path("/a/app/.git")) == there
    assert registry.of_name(ledger, "main", Path("/a/app/.git")) == here
    assert registry.of_name(ledger, "topic", None) == only
    assert registry.of_name(ledger, "nothing", None) is None


def test_a_branch_of_several_repositories_is_asked_back() -> None:
    ledger = Ledger()
    names = {claim(ledger, "main", at=at).name for at in ("/a/app", "/b/app")}
    with pytest.raises(VmNotFoundError) as caught:
        registry.of_name(ledger, "main", None)
    assert all(name in caught.value.hint for name in names)
