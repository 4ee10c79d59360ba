from __future__ import annotations

from pathlib import Path

import pytest

from tachikoma.git.port import Commit
from tests.unit.cli.stand import CommandLine

WORKTREE = Path("/src/box-feature-x")


@pytest.fixture
def working(line: CommandLine) -> CommandLine:
    line("spawn", "feature/x")
    line.publishing.branches.add("feature/x")
    line.publishing.changed[WORKTREE] = ("a", "b")
    return line


def test_it_says_what_it_did_and_prints_the_url_last(working: CommandLine) -> None:
    ran = working("pr", "feature/x")
    assert ran.status == 0
    assert ran.out == (
        "committed: Change 2 files\n"
        "pushed feature/x to git@github.com:acme/box.git\n"
        "git@github.com:acme/box.git/pull/feature/x\n"
    )


def test_a_machine_gets_all_of_it(working: CommandLine) -> None:
    data = working("pr", "--name", "feature/x", "--title", "Mine", "--json").data
    assert data == {
        "branch": "feature/x",
        "base": "main",
        "remote": "git@github.com:acme/box.git",
        "ended": "opened",
        "committed": {"subject": "Change 2 files", "body": " a | 1 +\n b | 1 +"},
        "pushed": True,
        "url": "git@github.com:acme/box.git/pull/feature/x",
        "next_step": None,
    }
    assert working.forge.opened["feature/x"].title == "Mine"


def test_nothing_to_do_is_said(working: CommandLine) -> None:
    working.publishing.changed.clear()
    assert working("pr", "feature/x").out == (
        "nothing to do: feature/x has nothing that main has not\n"
    )
    working.publishing.commits["feature/x"] = (Commit("One", ""),)
    working("pr", "feature/x")
    assert working("pr", "feature/x").out == (
        "nothing to do: the pull request has all of it\n"
        "git@github.com:acme/box.git/pull/feature/x\n"
    )


def test_without_gh_the_way_by_hand_is_told(working: CommandLine) -> None:
    working.forge.absent = True
    ran = working("pr", "feature/x")
    assert ran.status == 0
    assert ran.out.endswith(
        "the pull request is yours to open:\n"
        "  open git@github.com:acme/box.git: feature/x to main\n"
    )


def test_a_remote_that_nobody_vouches_for_is_asked_about(line: CommandLine) -> None:
    line.git.add_branch(line.repository, "y")
    line.publishing.branches.add("y")
    line.publishing.commits["y"] = (Commit("One", ""),)
    assert line("pr", "y").status == 2
    line.answer = "n"
    ran = line("pr", "y", tty=True)
    assert (ran.status, "Push to git@github.com:acme/box.git? [y/N]" in ran.err) == (1, True)
    assert line.publishing.pushed == {}
    assert line("pr", "y", "--yes").status == 0


def test_two_names_are_one_too_many(line: CommandLine) -> None:
    assert line("pr", "x", "--name", "y").status == 2
