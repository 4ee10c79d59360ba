from __future__ import annotations

from tests.unit.cli.stand import CommandLine


def test_a_broken_configuration_is_what_is_told(line: CommandLine) -> None:
    ran = line("makima", "doctor", env={"MAKIMA_DAEMON_SERVER_URL": "nonsense"})
    assert ran.status == 1
    assert "✗ configuration  MAKIMA_DAEMON_SERVER_URL is 'nonsense'" in ran.out
    assert ran.out.splitlines()[-1] == "1 problem to solve before the daemon can work"


def test_json_has_each_check(line: CommandLine) -> None:
    data = line("makima", "doctor", "--json").data
    assert data["ready"] is False
    found = {check["name"]: check["verdict"] for check in data["checks"]}
    assert (found["configuration"], found["api key"], found["server"]) == ("ok", "fail", "fail")
    assert list(found)[:4] == ["configuration", "api key", "server", "database"]
