from __future__ import annotations

import pytest

from tachikoma.cli.spent import Spent
from tachikoma.proxy.meter import Tokens
from tachikoma.proxy.prices import parse_prices
from tachikoma.proxy.spending import Budget
from tachikoma.proxy.usage import Sum

PRICES = parse_prices(["a 1000 2000"])
CALLS = (Sum("vm", "a", 2, Tokens(1000, 250)), Sum("vm", "b", 1, Tokens(50)))


@pytest.mark.parametrize(
    ("budget", "words", "exhausted"),
    [
        (Budget(), "1,300 tokens, $1.50", False),
        (Budget(tokens=2000), "1,300 of 2,000 tokens, $1.50", False),
        (
            Budget(usd=2.0),
            "1,300 tokens, $1.50 of $2.00, and 1 call without a price",
            False,
        ),
        (Budget(tokens=1300), "1,300 of 1,300 tokens, $1.50; the budget is used up", True),
    ],
)
def test_it_is_told_against_the_budget(budget: Budget, words: str, exhausted: bool) -> None:
    spent = Spent(CALLS, budget, PRICES)
    assert spent.told() == words
    assert spent.data()["budget_used_up"] is exhausted
    assert spent.data()["usd"] == 1.5


def test_a_vm_that_spent_nothing_shows_its_budget() -> None:
    assert Spent((), Budget(5.0, 10), ()).told() == "0 of 10 tokens, $0.00 of $5.00"
