from __future__ import annotations

import pytest

from tests.unit.cli.stand import CommandLine

DAY_S = 86_400


@pytest.fixture
def aged(line: CommandLine) -> CommandLine:
    for branch in ("old", "busy"):
        line("spawn", branch)
    line("halt", "old")
    line.clock._now += 40 * DAY_S
    return line


def names(line: CommandLine) -> list[str]:
    return [vm["branch"] for vm in line("list", "--json").data["vms"]]


def test_a_dry_run_shows_what_would_go(aged: CommandLine) -> None:
    ran = aged("prune", "--dry-run")
    assert ran.status == 0
    assert ran.out == (
        "NAME               BRANCH     DISK  LAST USED\n"
        "tachikoma-box-old  old     1.0 MiB  40 d ago\n"
    )
    assert ran.err == (
        "tachikoma-box-busy stays: it runs\n1 VM would go, and 1.0 MiB of disk be free\n"
    )
    assert names(aged) == ["busy", "old"]


def test_it_asks_and_then_does(aged: CommandLine) -> None:
    aged.answer = "n"
    ran = aged("prune", tty=True)
    assert (ran.status, "Destroy 1 VM, unused for 30 days? [y/N]" in ran.err) == (1, True)
    assert names(aged) == ["busy", "old"]
    aged.answer = "y"
    assert aged("prune", tty=True).status == 0
    assert names(aged) == ["busy"]


def test_without_a_terminal_it_takes_a_yes(aged: CommandLine) -> None:
    assert aged("prune").status == 2
    data = aged("prune", "--yes", "--json").data
    assert [vm["name"] for vm in data["pruned"]] == ["tachikoma-box-old"]
    assert (data["days"], data["dry_run"], data["freed_bytes"]) == (30, False, 1 << 20)
    assert data["spared"] == [{"name": "tachikoma-box-busy", "branch": "busy", "why": "it runs"}]


def test_days_beat_the_setting_and_the_setting_holds(aged: CommandLine) -> None:
    assert aged("prune", "--days", "41").err == (
        "nothing to prune: no VM at rest is unused for 41 days\n"
    )
    aged("config", "set", "prune_after_days", "50")
    assert aged("prune").status == 0
    assert "for 50 days" in aged("prune").err
    assert names(aged) == ["busy", "old"]
