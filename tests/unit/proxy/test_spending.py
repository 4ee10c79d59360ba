from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tachikoma.model.names import VmName
from tachikoma.proxy.meter import Tokens
from tachikoma.proxy.prices import parse_prices
from tachikoma.proxy.route import Tenant
from tachikoma.proxy.spending import Budget, Spending, used_up
from tachikoma.proxy.usage import Call, UsageBook

VM = VmName("tachikoma-repo-main")
PRICES = parse_prices(["a 1000000 1000000"])


@pytest.mark.parametrize(
    ("spent", "budget", "said"),
    [
        ({"a": Tokens(9)}, Budget(), ""),
        ({"a": Tokens(9)}, Budget(tokens=10), ""),
        ({"a": Tokens(4, 3, 2, 1)}, Budget(tokens=10), "budget of 10 tokens"),
        ({"a": Tokens(4)}, Budget(usd=5), ""),
        ({"a": Tokens(4, 1)}, Budget(usd=5), "budget of $5.00"),
        ({"b": Tokens(1000)}, Budget(usd=5), ""),
        ({}, Budget(usd=0), "budget of $0.00"),
        ({}, Budget(tokens=0), "budget of 0 tokens"),
    ],
)
def test_a_budget_is_used_up_when_it_is_reached(
    spent: dict[str, Tokens], budget: Budget, said: str
) -> None:
    told = used_up(spent, budget, PRICES)
    assert (said in told) if said else not told


async def test_what_was_spent_before_counts_and_so_does_every_call(tmp_path: Path) -> None:
    book = UsageBook(tmp_path / "usage.sqlite")
    before = [Call(5.0, VM, "main", "a", Tokens(6)), Call(50.0, VM, "main", "a", Tokens(3))]
    await asyncio.to_thread(book.add, before)
    spending = Spending(book)
    spending.set_limits(Budget(tokens=10), ())
    tenant = Tenant(VM, since=1.0)
    await spending.know([tenant, tenant])
    assert spending.used_up == {}
    spending.add(tenant, "b", Tokens(1))
    assert list(spending.used_up) == [VM]
    spending.set_limits(Budget(tokens=11), ())
    assert spending.used_up == {}
    spending.set_limits(Budget(), ())
    assert spending.used_up == {}


async def test_a_new_vm_of_the_same_name_begins_with_nothing(tmp_path: Path) -> None:
    book = UsageBook(tmp_path / "usage.sqlite")
    await asyncio.to_thread(book.add, [Call(5.0, VM, "main", "a", Tokens(100))])
    spending = Spending(book)
    spending.set_limits(Budget(tokens=10), ())
    await spending.know([Tenant(VM, since=1.0)])
    assert list(spending.used_up) == [VM]
    await spending.know([Tenant(VM, since=6.0)])
    assert spending.used_up == {}


async def test_an_account_that_cannot_be_read_is_said_and_begins_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "usage.sqlite"
    file.write_text("no database" * 100)
    spending = Spending(UsageBook(file))
    await spending.know([Tenant(VM)])
    assert "begins anew" in caplog.text
