from __future__ import annotations

from typing import Any

import pytest

from tachikoma.cli.task.words import cost, last_words, lines, row, seconds, tokens, worked

TASK: dict[str, Any] = {
    "id": "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
    "name": "Fix it",
    "status": "running",
    "attention": "",
    "waitsFor": "",
    "error": "",
    "summary": "Bash:\nls",
    "result": "",
    "repo": "/r",
    "baseBranch": "main",
    "branch": "makima/task-6ba7b810",
    "targetBranch": "main",
    "action": "merge",
    "actionOutcome": None,
    "daemon": {"id": "x", "hostname": "worker"},
    "attempt": 1,
    "maxAttempts": 2,
    "parent": None,
    "subtasks": 0,
    "createdAt": "2026-01-01T00:00:00Z",
    "startedAt": "2026-01-01T00:01:00Z",
    "endedAt": None,
    "figures": {"turns": 1, "inputTokens": 1000, "outputTokens": 500, "costUsd": 0.126},
}
NOW = 1767225780.0  # three minutes after it came


def test_a_row_tells_the_most_telling_things() -> None:
    assert row(TASK, NOW) == [
        *("6ba7b810", "Fix it", "running", "worker", "makima/task-6ba7b810", "3 min ago"),
        *("1k", "$0.13", "Bash: ls"),
    ]


@pytest.mark.parametrize("first", ["attention", "error", "waitsFor"])
def test_what_needs_somebody_goes_before_what_the_agent_does(first: str) -> None:
    assert last_words(TASK | {first: "look"}) == "look"


def test_a_page_leaves_out_what_there_is_nothing_of() -> None:
    told = dict(lines(TASK, NOW))
    assert told["action"] == "merge into main"
    assert told["worked"] == "2 min 0 s"
    assert told["attempt"] == "1 of 2"
    assert "error" not in told
    assert "took" in told


@pytest.mark.parametrize(
    ("count", "said"), [(0, "-"), (999, "999"), (1200, "1k"), (3_400_000, "3.4M")]
)
def test_tokens_are_short(count: int, said: str) -> None:
    assert tokens({"figures": {"inputTokens": count, "turns": 7}}) == said


def test_what_costs_nothing_is_not_told() -> None:
    assert cost({"figures": {"costUsd": 0}}) == "-"
    assert worked(TASK | {"startedAt": None}, NOW) == ""
    assert seconds(None) is None
