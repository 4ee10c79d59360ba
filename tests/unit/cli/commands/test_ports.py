from __future__ import annotations

import pytest

from tests.unit.cli.stand import CommandLine


def test_a_port_is_opened_listed_and_closed(line: CommandLine) -> None:
    line("spawn")
    assert line("ports", "open", "3000").out == "tachikoma-box-main:3000 is at 127.0.0.1:3000\n"
    line("ports", "open", "5432:15432", "main")
    assert line("ports", "list").out.splitlines() == [
        "NAME                GUEST PORT  ADDRESS          SINCE",
        "tachikoma-box-main        3000  127.0.0.1:3000   19675 d ago",
        "tachikoma-box-main        5432  127.0.0.1:15432  19675 d ago",
    ]
    assert line("ports").out == line("ports", "list").out
    assert line("ports", "close", "3000").out == "tachikoma-box-main:3000 left 127.0.0.1:3000\n"
    assert line("ports", "close", "3000").err == "there was nothing to close\n"
    (left,) = line("ports", "list", "main", "--json").data["ports"]
    assert (left["guest_port"], left["host"], left["host_port"]) == (5432, "127.0.0.1", 15432)
    assert len(line("ports", "close", "--all", "--json").data["closed"]) == 1
    assert line("ports", "list").err.startswith("no ports are forwarded")


@pytest.mark.parametrize("verb", ["halt", "suspend", "destroy"])
def test_ports_end_with_their_vm(line: CommandLine, verb: str) -> None:
    line("spawn", "x")
    line("spawn", "y")
    for branch, port in (("x", "3000"), ("y", "3001")):
        line("ports", "open", port, branch)
    line(verb, "x", *(["--yes"] if verb == "destroy" else []))
    assert list(line.forwards.opened) == [3001]


@pytest.mark.parametrize("port", ["0", "65536", "x", "1:", ":1", "1:2:3", "٣", "-1"])
def test_what_is_no_port_is_wrong_usage(line: CommandLine, port: str) -> None:
    line("spawn")
    assert line("ports", "open", "--", port).status == 2


def test_a_port_that_is_taken_is_told(line: CommandLine) -> None:
    line("spawn")
    line.forwards.taken.add(3000)
    assert line("ports", "open", "3000", "--json").error["code"] == "ssh.port_taken"


def test_a_vm_that_rests_has_no_ports(line: CommandLine) -> None:
    line("spawn")
    line("halt")
    assert line("ports", "open", "3000", "--json").error["code"] == "vm.not_running"
    assert line("ports", "list", "nobody", "--json").error["code"] == "vm.not_found"
    assert line("ports", "close").status == 2
