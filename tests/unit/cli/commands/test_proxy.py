"""What needs no running proxy; the rest is in the live tests of the proxy itself."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

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


LINES: tuple[Mapping[str, object], ...] = (
    {
        "vm": "tachikoma-box-main",
        "branch": "main",
        "method": "POST",
        "path": "/v1/messages",
        "status": 200,
        "verdict": "forwarded",
        "duration_s": 1.25,
        "model": "model-a",
        "tokens": {"input": 1000, "output": 234},
    },
    {
        "vm": "tachikoma-box-topic",
        "branch": "topic",
        "method": "CONNECT",
        "path": "evil.example:443",
        "host": "",
        "status": 403,
        "verdict": "denied",
        "why": "evil.example:443 is not allowed\x1b[2J",
        "duration_s": 0.0,
    },
    {"vm": None, "method": "", "path": "", "status": 400, "verdict": "denied", "why": "crooked"},
)


def recorded(line: CommandLine) -> None:
    logs = line.home / ".config" / "tachikoma" / "logs"
    logs.mkdir(parents=True)
    written = [json.dumps({"time": "2026-11-01T10:00:00+00:00", **each}) for each in LINES]
    (logs / "proxy-requests.jsonl").write_text("\n".join(written) + "\n")


def test_the_log_tells_who_asked_what_and_what_came_of_it(line: CommandLine) -> None:
    recorded(line)
    told = re.sub(r"(?m)^\d\d:\d\d:\d\d ", "", line("proxy", "log").out)
    assert told == (
        "200 main         POST /v1/messages  1.2 s  1,234 tokens of model-a\n"
        "403 topic        CONNECT evil.example:443  0.0 s  denied: evil.example:443 is not allowed"
        "\\x1b[2J\n"
        "400 -            - -  0.0 s  denied: crooked\n"
    )


def test_the_log_is_narrowed_to_a_vm_or_to_what_was_refused(line: CommandLine) -> None:
    recorded(line)
    for argv, statuses in (
        (("--denied",), [403, 400]),
        (("--vm", "main"), [200]),
        (("--vm", "tachikoma-box-topic", "--denied"), [403]),
        (("-n", "1"), [400]),
    ):
        found = line("proxy", "log", *argv, "--json").data["requests"]
        assert [each["status"] for each in found] == statuses


def test_an_empty_log_is_said_and_one_that_goes_on_is_no_json(line: CommandLine) -> None:
    assert "no such request" in line("proxy", "log").err
    assert line("proxy", "log", "-f", "--json").status == 2


def test_a_proxy_that_does_not_run_cannot_read_its_settings_again(line: CommandLine) -> None:
    ran = line("proxy", "reload")
    assert (ran.status, ran.out) == (1, "no proxy is running\n")
