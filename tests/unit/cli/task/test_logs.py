from __future__ import annotations

import json

import pytest

from tests.unit.cli.crew import RESULT, SAID
from tests.unit.cli.stand import CommandLine

pytestmark = pytest.mark.live


@pytest.fixture
def ended(typed: CommandLine) -> str:
    task = typed("task", "run", "log", "--repo", "u", "--follow", "--json").data["task"]
    return str(task["id"])


def test_what_was_printed_is_shown(typed: CommandLine, ended: str) -> None:
    ran = typed("task", "logs", ended)
    assert ran.out.splitlines()[0] == "On \\x1b[2J it."
    assert typed("task", "logs", ended, "-n", "1").out.startswith("✓ turn ended")
    assert typed("task", "logs", ended, "-n", "0").out == ""


def test_raw_is_as_it_was_printed(typed: CommandLine, ended: str) -> None:
    ran = typed("task", "logs", ended, "--raw")
    assert [json.loads(line) for line in ran.out.splitlines()] == [SAID, RESULT]
    lines = typed("task", "logs", ended, "--json").data["lines"]
    assert [json.loads(line) for line in lines] == [SAID, RESULT]


def test_following_one_that_has_ended_tells_its_end(typed: CommandLine, ended: str) -> None:
    ran = typed("task", "logs", ended, "-f", "-n", "0")
    assert (ran.status, ran.out.splitlines()[0]) == (0, "done")
    assert typed("task", "logs", ended, "-f", "--json").status == 2
