from __future__ import annotations

import pytest

from tests.unit.cli.stand import CommandLine

pytestmark = pytest.mark.live


def test_what_is_said_reaches_the_agent(typed: CommandLine) -> None:
    task = typed("task", "run", "wait", "--repo", "u", "--json").data["task"]["id"]
    for _ in range(50):
        if typed("task", "show", task, "--json").data["task"]["status"] == "running":
            break
    assert typed("task", "send", task, "be quick").out == "sent\n"
    assert any("be quick" in typed("task", "logs", task).out for _ in range(50))


def test_to_one_that_has_ended_nothing_can_be_said(typed: CommandLine) -> None:
    task = typed("task", "run", "x", "--repo", "u", "--follow", "--json").data["task"]["id"]
    ran = typed("task", "send", task, "hello")
    assert ran.status == 1
    assert "no agent works on the task" in ran.err
    assert "retry it" in ran.err
