from __future__ import annotations

from datetime import UTC, datetime

from tachikoma.makima.dashboard.port import DeniedHost, HostRequest
from tachikoma.makima.dashboard.requests import denied_hosts, shown

LINE = {
    "time": "2026-11-21T12:00:00.000+00:00",
    "vm": "tachikoma-app-main",
    "branch": "main",
    "method": "POST",
    "host": "",
    "path": "/v1/messages",
    "status": 200,
    "received": 10,
    "sent": 20,
    "first_byte_s": 0.1,
    "duration_s": 1.5,
    "verdict": "forwarded",
    "why": "",
    "model": "claude",
    "tokens": {"input": 1, "output": 2, "cache_write": 3, "cache_read": 4},
}


def test_a_line_of_the_log_is_shown_whole() -> None:
    assert shown(7, LINE) == HostRequest(
        id=7,
        at=datetime(2026, 11, 21, 12, tzinfo=UTC),
        vm="tachikoma-app-main",
        branch="main",
        method="POST",
        host="",
        path="/v1/messages",
        status=200,
        verdict="forwarded",
        why="",
        duration_s=1.5,
        received=10,
        sent=20,
        model="claude",
        tokens=10,
    )


def test_what_a_line_lacks_is_empty_and_what_is_no_line_is_passed_over() -> None:
    bare = shown(1, {"time": "2026-11-21T12:00:00", "status": None, "tokens": None, "sent": -1})
    assert bare is not None
    assert (bare.vm, bare.status, bare.tokens, bare.sent) == (None, None, None, 0)
    assert bare.at.tzinfo is not None
    assert shown(1, {"time": "soon"}) is None
    assert shown(1, {}) is None


def test_refused_hosts_are_counted_the_most_wanted_first() -> None:
    lines = [("a", "denied"), ("b", "denied"), ("b", "denied"), ("c", "forwarded"), ("", "denied")]
    found = [shown(1, {**LINE, "host": host, "verdict": verdict}) for host, verdict in lines]
    assert denied_hosts(each for each in found if each) == (
        DeniedHost(host="b", count=2),
        DeniedHost(host="a", count=1),
    )
