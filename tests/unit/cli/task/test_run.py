from __future__ import annotations

import pytest

from tests.unit.cli.stand import CommandLine

pytestmark = pytest.mark.live


def test_a_task_is_begun(typed: CommandLine) -> None:
    ran = typed("task", "run", "wait for me", "--repo", "https://example.org/x.git")
    assert ran.status == 0
    first, *rest = ran.out.splitlines()
    assert first.endswith(": pending")
    assert rest[-1].startswith("  follow it with `tachikoma task logs ")


def test_it_is_followed_to_its_end(typed: CommandLine) -> None:
    ran = typed("task", "run", "say something", "--follow", "--repo", "u")
    assert ran.status == 0
    assert ran.out.splitlines() == [
        "On \\x1b[2J it.",
        "✓ turn ended after 0.0 s, $0.50 so far",
        "done",
        f"  branch makima/task-{ran.err.split()[1][:8]}, 1k tokens, $0.50",
    ]


def test_one_that_fails_ends_with_status_1(typed: CommandLine) -> None:
    ran = typed("task", "run", "fail, please", "--follow", "--json", "--repo", "u")
    assert ran.status == 1
    assert (ran.data["task"]["status"], ran.data["task"]["error"]) == ("failed", "it broke")


def test_the_repository_here_is_meant_and_its_branch(typed: CommandLine) -> None:
    task = typed("task", "run", "wait", "--json").data["task"]
    assert (task["repo"], task["targetRepo"]) == (str(typed.cwd), str(typed.cwd))
    assert (task["action"], task["targetBranch"]) == ("branch", None)
    assert task["baseBranch"]
    merged = typed("task", "run", "wait", "--branch", "main", "--json").data["task"]
    assert (merged["action"], merged["targetBranch"]) == ("merge", "main")
    far = typed("task", "run", "wait", "--repo", "https://h.example/x", "--json").data["task"]
    assert (far["action"], far["targetRepo"]) == ("none", None)


def test_one_begins_after_another(typed: CommandLine) -> None:
    first = typed("task", "run", "wait", "--repo", "u", "--json").data["task"]
    second = typed("task", "run", "later", "--repo", "u", "--after", first["id"][:8], "--json")
    assert second.data["task"]["dependencies"] == [first["id"]]


@pytest.mark.parametrize("plan", ["", "  "])
def test_an_empty_plan_is_no_task(typed: CommandLine, plan: str) -> None:
    ran = typed("task", "run", plan)
    assert ran.status == 2
    assert "the plan is empty" in ran.err


def test_what_cannot_be_chosen_is_refused(typed: CommandLine) -> None:
    assert typed("task", "run", "x", "--action", "force").status == 2
    assert typed("task", "run", "x", "--priority", "1000").status == 2
