"""What needs no running proxy; the rest is in the live tests of the proxy itself."""

from __future__ import annotations

from tests.unit.cli.stand import CommandLine


def test_status_tells_where_it_listens_and_for_what(line: CommandLine) -> None:
    assert line("proxy", "status").out == (
        "the proxy is running on 127.0.0.1:19280\n"
        "  upstream  https://api.example\n"
        "  process   77, version 0.1.0, started now\n"
    )


def test_a_proxy_that_does_not_run_is_exit_status_1(line: CommandLine) -> None:
    line.proxy_runs = False
    ran = line("proxy", "status")
    assert ran.status == 1
    assert ran.out == ("the proxy is not running (127.0.0.1:19280); `tachikoma spawn` starts it\n")
    assert line("proxy", "status", "--json").data["running"] is False
