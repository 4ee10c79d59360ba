"""What one VM has spent, against its budget (pure)."""

from __future__ import annotations

from dataclasses import dataclass

from tachikoma.cli import words
from tachikoma.proxy.meter import Tokens
from tachikoma.proxy.prices import Prices
from tachikoma.proxy.spending import Budget, used_up
from tachikoma.proxy.usage import Sum, Total, totals


@dataclass(frozen=True, slots=True)
class Spent:
    """The model calls of a VM, its budget, and the prices that hold."""

    sums: tuple[Sum, ...]
    budget: Budget
    prices: Prices

    @property
    def exhausted(self) -> bool:
        """Whether the proxy refuses further model calls."""
        spent = {each.model: each.tokens for each in self.sums}
        return bool(used_up(spent, self.budget, self.prices))

    def told(self) -> str:
        """Give it as people read it: ``1,234 of 5,000 tokens, $0.12``."""
        total = self._total()
        limit = "" if self.budget.tokens is None else f" of {self.budget.tokens:,}"
        said = f"{total.tokens.total:,}{limit} tokens"
        if self.budget.usd is not None:
            said += f", ${total.usd:,.2f} of ${self.budget.usd:,.2f}"
        elif total.unpriced < total.calls:
            said += f", ${total.usd:,.2f}"
        if total.unpriced and self.budget.usd is not None:
            said += f", and {words.count(total.unpriced, 'call')} without a price"
        return f"{said}; the budget is used up" if self.exhausted else said

    def data(self) -> dict[str, object]:
        """Give it to a machine."""
        total = self._total()
        return {
            "tokens": total.tokens.total,
            "usd": round(total.usd, 6),
            "calls_without_price": total.unpriced,
            "budget_tokens": self.budget.tokens,
            "budget_usd": self.budget.usd,
            "budget_used_up": self.exhausted,
        }

    def _total(self) -> Total:
        found = totals(self.sums, self.prices)
        return found[0] if found else Total("", 0, Tokens(), 0.0, 0)
