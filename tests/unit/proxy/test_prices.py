from __future__ import annotations

import pytest

from tachikoma.proxy.meter import Tokens
from tachikoma.proxy.prices import Price, cost_of, parse_prices


def test_a_row_without_prices_for_the_cache_takes_them_from_that_of_the_input() -> None:
    assert parse_prices(["claude-a-* 4 20", "b  1 2 3 4.5"]) == (
        Price("claude-a-*", 4, 20, 5, 0.4),
        Price("b", 1, 2, 3, 4.5),
    )


def test_every_kind_of_token_has_its_price() -> None:
    prices = parse_prices(["m 1 10 100 1000"])
    million = 1_000_000
    assert cost_of(prices, "m", Tokens(million, 0, 0, 0)) == 1
    assert cost_of(prices, "m", Tokens(0, million, 0, 0)) == 10
    assert cost_of(prices, "m", Tokens(0, 0, million, 0)) == 100
    assert cost_of(prices, "m", Tokens(0, 0, 0, million)) == 1000
    assert cost_of(prices, "m", Tokens(1, 1, 1, 1)) == pytest.approx(1111 / million)


def test_the_first_row_that_fits_counts_and_an_unknown_model_has_no_price() -> None:
    prices = parse_prices(["claude-a-1 1 1", "claude-a-* 2 2"])
    assert cost_of(prices, "claude-a-1", Tokens(1_000_000)) == 1
    assert cost_of(prices, "claude-a-2", Tokens(1_000_000)) == 2
    assert cost_of(prices, "claude-b", Tokens(1_000_000)) is None
    assert cost_of((), "claude-a-1", Tokens()) is None
