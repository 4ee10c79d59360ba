"""What model calls cost, by the user's price table (pure)."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tachikoma.proxy.meter import Tokens

_MILLION = 1_000_000
_WRITE_FACTOR = 1.25
_READ_FACTOR = 0.1
"""What the API asks for the cache against plain input, where a row does not say."""


@dataclass(frozen=True, slots=True)
class Price:
    """One row: USD for a million tokens of every model that ``model`` (with ``*``) fits."""

    model: str
    input: float
    output: float
    cache_write: float
    cache_read: float

    def of(self, tokens: Tokens) -> float:
        """Give what ``tokens`` cost in USD."""
        cost = (
            tokens.input * self.input
            + tokens.output * self.output
            + tokens.cache_write * self.cache_write
            + tokens.cache_read * self.cache_read
        )
        return cost / _MILLION


Prices = tuple[Price, ...]


def parse_prices(rows: Iterable[str]) -> Prices:
    """Read the rows of the setting ``prices``, which are known to have the right form."""
    found = []
    for row in rows:
        model, *numbers = row.split()
        given = [float(number) for number in numbers]
        if len(given) == 2:
            given += [given[0] * _WRITE_FACTOR, given[0] * _READ_FACTOR]
        found.append(Price(model, *given))
    return tuple(found)


def cost_of(prices: Sequence[Price], model: str, tokens: Tokens) -> float | None:
    """Give what a call of ``model`` cost in USD; None for a model without a price."""
    for price in prices:
        if fnmatch.fnmatchcase(model, price.model):
            return price.of(tokens)
    return None
