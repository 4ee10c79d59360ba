from __future__ import annotations

import pytest

from tests.unit.cli.stand import CommandLine

pytestmark = pytest.mark.live


def test_everything_is_told_of_a_task(typed: CommandLine) -> None:
    task = typed("task", "run", "tell", "--repo", "u", "--follow", "--json").data["task"]
    ran = typed("task", "show", task["id"], "--history", tty=True)
    assert ran.status == 0
    told = {line[2:15].strip(): line[15:] for line in ran.out.splitlines()}
    assert told["status"] == "done"
    assert told["id"] == task["id"]
    assert told["result"] == "Fine."
    assert "given to host-m1" in ran.out
    shown = typed("task", "show", task["branch"], "--json").data
    assert shown["task"]["id"] == task["id"]
