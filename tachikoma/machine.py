"""This machine as a dashboard shows it: the VMs of tachikoma and the ledger of its proxy."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from tachikoma.makima.dashboard.port import (
    HostProxy,
    HostRequest,
    HostRequests,
    HostVm,
    VmUsage,
)
from tachikoma.makima.dashboard.requests import denied_hosts, shown
from tachikoma.proxy.prices import Prices, parse_prices
from tachikoma.proxy.reading import Position, Wanted, further, recent
from tachikoma.proxy.usage import UsageBook, totals
from tachikoma.runtime import Runtime
from tachikoma.vm.requests import SurveyRequest, VmReport

_KEPT = 2000
_KEPT_DENIED = 1000
_RUNNING_FIRST = ("running", "suspended", "stopped")


class LocalMachine:
    """The machine of ``runtime``, as its settings were when somebody first looked."""

    def __init__(self, runtime: Runtime, *, hostname: str) -> None:
        self._runtime = runtime
        self._hostname = hostname
        self._ledger: Ledger | None = None
        self._reads = asyncio.Lock()

    @property
    def hostname(self) -> str:
        """What the machine is called."""
        return self._hostname

    async def vms(self) -> tuple[HostVm, ...]:
        """Give the VMs, those that run first.

        Raises:
            TachikomaError: the settings or the engine cannot be used.
        """
        settings = await self._runtime.load_settings()
        outcome = await self._runtime.orchestrator.survey(SurveyRequest(), lambda _: None)
        book, prices = self._runtime.usage_book, parse_prices(settings.prices)
        usage = await asyncio.to_thread(_usage, book, outcome.vms, prices)
        found = [_vm(each, usage.get(each.name)) for each in outcome.vms]
        return tuple(sorted(found, key=_place))

    async def requests(self, *, most: int, denied: bool, vm: str | None) -> HostRequests:
        """Give the last ``most`` requests: of one VM or branch, or all; only those refused, or all.

        Raises:
            TachikomaError: the settings cannot be used.
        """
        await self._runtime.load_settings()
        status = await self._runtime.proxy_status()
        async with self._reads:
            if self._ledger is None:
                self._ledger = Ledger(self._runtime.proxy_plan().requests_file)
            ledger = self._ledger
            await asyncio.to_thread(ledger.read)
        wanted = ledger.denied if denied else ledger.all
        fit = (each for each in reversed(wanted) if vm in {None, each.vm, each.branch})
        return HostRequests(
            proxy=HostProxy(
                running=status.running,
                endpoint=str(status.endpoint),
                since=None if status.since is None else datetime.fromtimestamp(status.since, UTC),
            ),
            items=tuple(islice(fit, most)),
            denied_hosts=denied_hosts(ledger.denied),
        )


class Ledger:
    """The end of a request log: all there is at first, then what is new each time."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._position: Position | None = None
        self._number = 0
        self.all: deque[HostRequest] = deque(maxlen=_KEPT)
        self.denied: deque[HostRequest] = deque(maxlen=_KEPT_DENIED)

    def read(self) -> None:
        """Take in what has been recorded since the last time. One call at a time."""
        if self._position is None:
            refused, _ = recent(self._file, Wanted(denied=True), most=_KEPT_DENIED)
            found, self._position = recent(self._file, Wanted(), most=_KEPT)
            older = len(refused) - sum(each.get("verdict") == "denied" for each in found)
            self._take(islice(refused, max(older, 0)), only_denied=True)
        else:
            found, self._position = further(self._file, Wanted(), self._position)
        self._take(found)

    def _take(self, lines: Iterable[Mapping[str, object]], *, only_denied: bool = False) -> None:
        for line in lines:
            self._number += 1
            if (request := shown(self._number, line)) is None:
                continue
            if not only_denied:
                self.all.append(request)
            if request.verdict == "denied":
                self.denied.append(request)


def _usage(book: UsageBook, vms: Iterable[VmReport], prices: Prices) -> dict[str, VmUsage]:
    found = {}
    for vm in vms:
        # One of the same name may have been there before.
        for total in totals(book.of_vm(vm.name, since=vm.created or 0.0), prices):
            tokens = total.tokens
            found[str(vm.name)] = VmUsage(
                calls=total.calls,
                tokens=tokens.input + tokens.output + tokens.cache_write + tokens.cache_read,
                cost_usd=None if total.unpriced == total.calls else total.usd,
            )
    return found


def _vm(report: VmReport, usage: VmUsage | None) -> HostVm:
    return HostVm(
        name=report.name,
        branch=report.branch,
        repository=report.repository_name,
        worktree=None if report.worktree is None else str(report.worktree),
        engine=report.engine,
        image=report.image,
        state=None if report.state is None else report.state.value,
        cpus=report.cpus,
        memory_mib=report.memory_mib,
        disk_bytes=report.disk_bytes,
        created_at=_moment(report.created),
        last_used_at=_moment(report.last_used),
        usage=usage,
    )


def _place(vm: HostVm) -> tuple[int, str]:
    state = vm.state or ""
    at = _RUNNING_FIRST.index(state) if state in _RUNNING_FIRST else len(_RUNNING_FIRST)
    return at, vm.name


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
