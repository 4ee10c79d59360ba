"""What each VM has spent, and which of them have nothing left."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tachikoma.model.errors import ProxyError
from tachikoma.model.names import VmName
from tachikoma.proxy.meter import Tokens
from tachikoma.proxy.prices import Prices, cost_of
from tachikoma.proxy.route import Tenant
from tachikoma.proxy.usage import UsageBook

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Budget:
    """What each VM may spend; None is without limit."""

    usd: float | None = None
    tokens: int | None = None


def used_up(spent: Mapping[str, Tokens], budget: Budget, prices: Prices) -> str:
    """Say that what was ``spent`` (by model) reaches the budget; "" while it does not."""
    if budget.tokens is not None:
        total = sum(tokens.total for tokens in spent.values())
        if total >= budget.tokens:
            return _said(f"{budget.tokens:,} tokens", "budget_tokens")
    if budget.usd is not None:
        usd = sum(cost_of(prices, model, tokens) or 0.0 for model, tokens in spent.items())
        if usd >= budget.usd:
            return _said(f"${budget.usd:,.2f}", "budget_usd")
    return ""


@dataclass(slots=True)
class _Account:
    since: float
    spent: dict[str, Tokens] = field(default_factory=dict)


class Spending:
    """Adds up what the VMs use, beginning with what ``book`` has of them.

    ``used_up`` holds those that have reached their budget, and is kept as it is by whoever got it.
    """

    def __init__(self, book: UsageBook) -> None:
        self._book = book
        self._accounts: dict[VmName, _Account] = {}
        self._budget = Budget()
        self._prices: Prices = ()
        self.used_up: dict[VmName, str] = {}

    def set_limits(self, budget: Budget, prices: Prices) -> None:
        """Apply other limits, to what was spent already too."""
        self._budget, self._prices = budget, prices
        for vm in self._accounts:
            self._judge(vm)

    async def know(self, tenants: Iterable[Tenant]) -> None:
        """Load what those VMs spent before, where it is not known yet."""
        for tenant in {each.vm: each for each in tenants}.values():
            known = self._accounts.get(tenant.vm)
            if known is None or known.since != tenant.since:
                account = _Account(tenant.since)
                self._accounts[tenant.vm] = account
                for model, tokens in (await asyncio.to_thread(self._before, tenant)).items():
                    account.spent[model] = account.spent.get(model, Tokens()) + tokens
                self._judge(tenant.vm)

    def add(self, tenant: Tenant, model: str, tokens: Tokens) -> None:
        """Count one call."""
        account = self._accounts.setdefault(tenant.vm, _Account(tenant.since))
        account.spent[model] = account.spent.get(model, Tokens()) + tokens
        self._judge(tenant.vm)

    def _before(self, tenant: Tenant) -> dict[str, Tokens]:
        try:
            found = self._book.of_vm(tenant.vm, since=tenant.since)
        except ProxyError as error:
            _log.error("%s; the budget of %s begins anew", error.message, tenant.vm)
            return {}
        return {each.model: each.tokens for each in found}

    def _judge(self, vm: VmName) -> None:
        if why := used_up(self._accounts[vm].spent, self._budget, self._prices):
            self.used_up[vm] = why
        else:
            self.used_up.pop(vm, None)


def _said(limit: str, key: str) -> str:
    return (
        f"this VM has used up its budget of {limit}; raise {key} in "
        "~/.config/tachikoma/config.toml on the host to go on"
    )
