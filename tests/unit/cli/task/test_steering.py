from __future__ import annotations

import pytest

from tests.unit.cli.stand import CommandLine

pytestmark = pytest.mark.live


def until(typed: CommandLine, task: str, status: str) -> None:
    for _ in range(100):
        if typed("task", "show", task, "--json").data["task"]["status"] == status:
            return
    raise AssertionError(f"{task} did not become {status}")


def test_a_task_is_held_let_go_ended_tried_again_and_put_away(typed: CommandLine) -> None:
    task = typed("task", "run", "wait", "--repo", "u", "--json").data["task"]["id"]
    until(typed, task, "running")
    assert typed("task", "pause", task).out == "running: it is about to be held\n"
    until(typed, task, "paused")
    assert typed("task", "resume", task).status == 0
    until(typed, task, "running")
    assert typed("task", "interrupt", task, "--now").status == 0
    until(typed, task, "interrupted")
    assert typed("task", "retry", task, "--fresh").out.startswith("pending")
    until(typed, task, "running")
    assert typed("task", "archive", task).status == 1
    typed("task", "interrupt", task)
    until(typed, task, "interrupted")
    assert typed("task", "archive", task).out == "interrupted: archived\n"
    listed = typed("task", "list", "--json").data["tasks"]
    assert task not in [each["id"] for each in listed]
    assert typed("task", "archive", task, "--undo").out == "interrupted: it is back\n"
