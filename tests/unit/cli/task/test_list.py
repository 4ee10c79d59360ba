from __future__ import annotations

import pytest

from tests.unit.cli.stand import CommandLine

pytestmark = pytest.mark.live


def test_tasks_are_listed_and_fit_80_columns(typed: CommandLine) -> None:
    typed("task", "run", "wait " + "x" * 90, "--repo", "u")
    ran = typed("task", "list", tty=True)
    assert ran.status == 0
    head, first, *_ = ran.out.splitlines()
    assert "STATUS" in head
    assert "wait xxx" in first
    assert max(len(line) for line in ran.out.splitlines()) <= 80


def test_a_status_chooses_and_more_is_told(typed: CommandLine) -> None:
    for _ in range(2):
        typed("task", "run", "fail", "--repo", "u", "--follow")
    found = typed("task", "list", "--status", "failed", "-n", "1", "--json").data
    assert [task["status"] for task in found["tasks"]] == ["failed"]
    assert found["total"] >= 2
    ran = typed("task", "list", "--status", "failed", "-n", "1")
    assert "--all shows all" in ran.err
    both = typed("task", "list", "--status", "failed", "--status", "paused", "--all", "--json").data
    assert len(both["tasks"]) == both["total"] >= 2


def test_without_a_server_it_says_what_to_do(line: CommandLine) -> None:
    ran = line("task", "list")
    assert ran.status == 1
    assert "tachikoma makima up" in ran.err


def test_a_server_that_is_away_is_told(typed: CommandLine) -> None:
    environ = {"MAKIMA_API_URL": "http://127.0.0.1:9", "MAKIMA_API_KEY": "mku_x"}
    ran = typed("task", "list", "--json", env=environ)
    assert ran.status == 1
    assert ran.envelope["error"]["code"] == "makima.server_away"
