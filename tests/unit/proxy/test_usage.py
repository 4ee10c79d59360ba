from __future__ import annotations

from pathlib import Path

import pytest

from tachikoma.model.errors import ProxyError
from tachikoma.proxy.meter import Tokens
from tachikoma.proxy.prices import parse_prices
from tachikoma.proxy.usage import Call, Sum, Total, UsageBook, totals

DAY = 86_400.0
NOON = 1_700_049_600.0
CALLS = (
    Call(NOON, "vm-1", "main", "a", Tokens(1, 2, 3, 4)),
    Call(NOON + 1, "vm-1", "main", "b", Tokens(10)),
    Call(NOON + DAY, "vm-2", "topic", "a", Tokens(100, 200)),
)


@pytest.fixture
def book(tmp_path: Path) -> UsageBook:
    made = UsageBook(tmp_path / "logs" / "usage.sqlite")
    made.add(CALLS[:2])
    made.add(CALLS[2:])
    return made


def test_calls_are_added_up_by_group_and_model(book: UsageBook) -> None:
    assert book.sums("vm") == (
        Sum("vm-1", "a", 1, Tokens(1, 2, 3, 4)),
        Sum("vm-1", "b", 1, Tokens(10)),
        Sum("vm-2", "a", 1, Tokens(100, 200)),
    )
    assert [each.group for each in book.sums("branch")] == ["main", "main", "topic"]
    assert [each.group for each in book.sums("model")] == ["a", "b"]
    assert len({each.group for each in book.sums("day")}) == 2


def test_only_what_came_since_then_is_counted(book: UsageBook) -> None:
    assert [each.group for each in book.sums("vm", since=NOON + 2)] == ["vm-2"]
    assert [each.model for each in book.of_vm("vm-1", since=NOON + 1)] == ["b"]
    assert book.of_vm("vm-3", since=0) == ()


def test_another_process_reads_while_one_writes(book: UsageBook, tmp_path: Path) -> None:
    reader = UsageBook(tmp_path / "logs" / "usage.sqlite")
    assert len(reader.sums("vm")) == 3
    book.add([Call(NOON, "vm-3", "x", "a", Tokens(1))])
    assert len(reader.sums("vm")) == 4
    assert (tmp_path / "logs" / "usage.sqlite").stat().st_mode & 0o777 == 0o600


def test_a_missing_file_holds_nothing_and_is_not_made_by_reading(tmp_path: Path) -> None:
    file = tmp_path / "usage.sqlite"
    assert UsageBook(file).sums("vm") == ()
    assert not file.exists()


def test_a_file_that_is_none_of_ours_is_said(tmp_path: Path) -> None:
    file = tmp_path / "usage.sqlite"
    file.write_text("no database, but long enough to be looked at" * 20)
    with pytest.raises(ProxyError, match="cannot be used"):
        UsageBook(file).sums("vm")
    with pytest.raises(ProxyError, match="cannot be used"):
        UsageBook(file).add(CALLS)


def test_totals_count_what_has_a_price_and_say_what_has_none(book: UsageBook) -> None:
    prices = parse_prices(["a 1000000 0"])
    assert totals(book.sums("vm"), prices) == (
        Total("vm-1", 2, Tokens(11, 2, 3, 4), 1 + 3 * 1.25 + 4 * 0.1, 1),
        Total("vm-2", 1, Tokens(100, 200), 100.0, 0),
    )
