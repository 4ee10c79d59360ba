"""What holds at this moment: the user's settings and the record of VMs, joined into a policy.

Both files are looked at again and again, and read when they changed. SIGHUP has the settings
read again in any case, and with them what the host's own tools say about their registries.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from tachikoma.config.load import load
from tachikoma.host import tasks
from tachikoma.model.errors import TachikomaError
from tachikoma.model.settings import Settings
from tachikoma.proxy.egress import GROUPS, Rule, rules
from tachikoma.proxy.groups import Groups
from tachikoma.proxy.prices import parse_prices
from tachikoma.proxy.route import Policy
from tachikoma.proxy.spending import Budget, Spending
from tachikoma.proxy.tenants import TenantBook, Tenants

_LOOKED_EACH_S = 0.25
"""How often the settings file is looked at; that of the VMs is looked at for every request."""

_log = logging.getLogger(__name__)

Applied = Callable[[Settings], None]


class Policies:
    """Gives the policy of the moment.

    ``applied`` is told of every change of the settings that can be used. Settings that cannot are
    logged, and those before them hold on.
    """

    def __init__(
        self,
        *,
        upstream: str,
        settings_file: Path,
        tenants: TenantBook,
        spending: Spending,
        groups: Groups,
        applied: Applied,
    ) -> None:
        self._upstream = upstream
        self._file = settings_file
        self._tenants = tenants
        self._spending = spending
        self._groups = groups
        self._applied = applied
        self._stamp: object = None
        self._changing = asyncio.Lock()
        self._finding: asyncio.Task[None] | None = None
        self._known: Tenants | None = None
        self._policy = Policy(upstream, None)
        self._loop = asyncio.get_running_loop()
        self._look_again = 0.0

    async def current(self) -> Policy:
        """Give what holds now; the same object as last time if nothing changed."""
        now = self._loop.time()
        if now >= self._look_again:
            self._look_again = now + _LOOKED_EACH_S
            if self._stamp is None or self._stamped() != self._stamp:
                await self._one_at_a_time(self._read)
        tenants = await self._tenants.tenants()
        if tenants is not self._known or tenants is None:
            if tenants is not None:
                await self._spending.know(tenants.values())
            self._known = tenants
            self._policy = Policy(self._upstream, tenants, self._spending.used_up)
        return self._policy

    async def outward(self) -> Policy:
        """Give what holds now, once it is known what the groups mean.

        Asking the host's tools takes seconds; who asks the API need not wait for it.
        """
        await self.current()
        if self._finding is not None:
            await asyncio.wait({self._finding})
        return await self.current()

    async def reload(self) -> None:
        """Read the settings again, changed or not."""
        self._groups.forget()
        self._stamp = None
        await self._one_at_a_time(self._read)

    async def _one_at_a_time(self, work: Callable[[], Awaitable[None]]) -> None:
        async with self._changing:
            if self._stamp is None or self._stamped() != self._stamp:
                await work()

    async def _read(self) -> None:
        stamp = self._stamped()
        try:
            loaded = await asyncio.to_thread(
                load, global_file=self._file, repository=None, home=self._file.parent
            )
        except TachikomaError as error:
            _log.error("the settings stay as they were: %s", error.message)
            self._stamp = stamp
            return
        settings = loaded.settings
        if self._finding is not None:
            await tasks.end(self._finding)
        self._finding = tasks.spawn(self._find(settings.egress_allow), name="egress groups")
        budget = Budget(settings.budget_usd, settings.budget_tokens)
        self._spending.set_limits(budget, parse_prices(settings.prices))
        self._applied(settings)
        self._stamp = stamp

    async def _find(self, texts: tuple[str, ...]) -> None:
        """Let the VMs reach what the rules cover, with every group as what it means here."""
        named = [group for group in dict.fromkeys(texts) if group in GROUPS]
        meant = await asyncio.gather(*map(self._groups.hosts, named))
        found: list[Rule] = list(rules(texts))
        for group, hosts in zip(named, meant, strict=True):
            if not hosts:
                _log.warning("egress_allow: %s means no host on this machine", group)
            found += rules(hosts)
        self._tenants.allow(tuple(found))

    def _stamped(self) -> object:
        try:
            seen = self._file.stat()
        except OSError:
            return "missing"
        return seen.st_mtime_ns, seen.st_ctime_ns, seen.st_size, seen.st_ino
