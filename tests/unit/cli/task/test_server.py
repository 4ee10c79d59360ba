from __future__ import annotations

import pytest

from tests.unit.cli.stand import CommandLine
from tests.unit.makima.server.stage import Team

pytestmark = pytest.mark.live


def test_a_task_is_found_by_what_is_unmistakable(typed: CommandLine) -> None:
    first = typed("task", "run", "wait", "--name", "First of all", "--repo", "u", "--json")
    id_ = first.data["task"]["id"]
    for name in (id_, id_[:8], id_[:13].upper(), "First of all"):
        assert typed("task", "show", name, "--json").data["task"]["id"] == id_
    none = typed("task", "show", "ffffffff-0000", "--json")
    assert none.envelope["error"]["code"] == "makima.no_task"
    for _ in range(20):
        typed("task", "run", "wait", "--repo", "u")
    several = [
        digit for digit in "0123456789abcdef" if "begin with" in typed("task", "show", digit).err
    ]
    assert several


def test_another_server_needs_a_key_of_its_own(typed: CommandLine, crew: Team) -> None:
    ran = typed("task", "list", "--server", "http://127.0.0.1:9")
    assert ran.status == 1
    assert "there is no key for the makima server http://127.0.0.1:9" in ran.err
    named = {"MAKIMA_API_KEY": crew.user_key, "MAKIMA_API_URL": "http://127.0.0.1:9"}
    assert typed("task", "list", "--server", crew.base, env=named).status == 0
