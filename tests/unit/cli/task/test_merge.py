from __future__ import annotations

import pytest

from tests.unit.cli.stand import CommandLine

pytestmark = pytest.mark.live


def test_the_branch_of_a_task_is_merged_where_it_is_said(typed: CommandLine) -> None:
    task = typed("task", "run", "x", "--repo", "u", "--follow", "--json").data["task"]["id"]
    ran = typed("task", "merge", task, "--into", "main", "--repo", "there")
    assert (ran.status, ran.out) == (0, f"✓ merge {typed.cwd}/there\n")
    failed = typed("task", "merge", task, "--into", "broken", "--action", "pr")
    assert (failed.status, failed.out) == (1, "✗ pr\n")
    assert typed("task", "show", task, "--json").data["task"]["actionOutcome"]["success"] is False
