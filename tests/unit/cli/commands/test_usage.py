from __future__ import annotations

import pytest

from tachikoma.proxy.meter import Tokens
from tachikoma.proxy.usage import Call, UsageBook
from tests.unit.cli.stand import CommandLine

CALLS = [
    (0.0, "tachikoma-box-main", "main", "model-a", Tokens(1000, 200, 30, 4000)),
    (3600.0, "tachikoma-box-main", "main", "model-b", Tokens(10, 20)),
    (90_000.0, "tachikoma-box-topic", "topic", "model-a", Tokens(500_000, 100)),
]


@pytest.fixture
def used(line: CommandLine) -> CommandLine:
    config = line.home / ".config" / "tachikoma"
    config.mkdir(parents=True)
    (config / "config.toml").write_text('prices = ["model-a 3 15"]\n')
    now = line.clock.now()
    UsageBook(config / "usage.sqlite").add(
        Call(now - ago, vm, branch, model, tokens) for ago, vm, branch, model, tokens in CALLS
    )
    return line


def test_what_was_used_is_added_up_by_vm_with_its_cost(used: CommandLine) -> None:
    ran = used("usage", tty=True)
    assert ran.out.replace("\x1b[2m", "").replace("\x1b[0m", "") == (
        "VM                   CALLS    INPUT  OUTPUT  TO CACHE  FROM CACHE   COST\n"
        "tachikoma-box-main       2    1,010     220        30       4,000  $0.01\n"
        "tachikoma-box-topic      1  500,000     100         0           0  $1.50\n"
        "all                      3  501,010     320        30       4,000  $1.51\n"
    )
    assert "1 of 3 calls are of models without a price" in ran.err


def test_it_is_grouped_as_asked_for_and_only_since_then(used: CommandLine) -> None:
    told = used("usage", "--by", "model", "--since", "2h", "--json").data
    assert told["by"] == "model"
    assert [(each["group"], each["usd"]) for each in told["totals"]] == [
        ("model-a", 0.007313),
        ("model-b", 0.0),
    ]
    assert told["totals"][1]["calls_without_price"] == 1
    assert len(used("usage", "--by", "day", "--json").data["totals"]) == 2
    assert [each["group"] for each in used("usage", "--by", "branch", "--json").data["totals"]] == [
        "main",
        "topic",
    ]


def test_nothing_used_is_said(line: CommandLine) -> None:
    ran = line("usage")
    assert (ran.status, ran.out) == (0, "")
    assert "no model call has been recorded" in ran.err
    assert line("usage", "--json").data == {"by": "vm", "totals": []}
    assert line("usage", "--since", "once").status == 2


def test_status_tells_what_a_vm_used_and_that_its_budget_is_gone(used: CommandLine) -> None:
    used("spawn")
    config = used.home / ".config" / "tachikoma"
    (config / "usage.sqlite").unlink()
    assert "usage" not in used("status", "main").out
    book = UsageBook(config / "usage.sqlite")
    book.add([Call(used.clock.now() + 1, "tachikoma-box-main", "main", "model-a", Tokens(1000))])
    assert "  usage       1,000 tokens, $0.00\n" in used("status", "main").out
    with (config / "config.toml").open("a") as file:
        file.write("budget_tokens = 900\n")
    told = used("status", "main")
    assert "  usage       1,000 of 900 tokens, $0.00; the budget is used up\n" in told.out
    assert used("status", "main", "--json").data["usage"]["budget_used_up"] is True
