"""Removing the VMs that nobody has used for long: destroy, for each that the rules choose."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from tachikoma.model.errors import VmBusyError, VmNotFoundError
from tachikoma.model.events import Report
from tachikoma.model.vm import VmState
from tachikoma.vm.ports import Ports
from tachikoma.vm.requests import (
    DestroyOutcome,
    DestroyRequest,
    PruneOutcome,
    PruneRequest,
    Spared,
    SurveyOutcome,
    SurveyRequest,
    Target,
    VmReport,
)

_DAY_S = 86_400.0
_NOWHERE = Path("/")


class Pruner:
    """Destroys what is old and rests. ``destroy`` and ``survey`` are the orchestrator's."""

    def __init__(
        self,
        *,
        ports: Ports,
        survey: Callable[[SurveyRequest, Report], Awaitable[SurveyOutcome]],
        destroy: Callable[[DestroyRequest, Report], Awaitable[DestroyOutcome]],
    ) -> None:
        self._ports = ports
        self._survey = survey
        self._destroy = destroy

    async def prune(self, request: PruneRequest, report: Report) -> PruneOutcome:
        """Destroy each VM that has rested and been unused for long enough; the others stay.

        One that is used meanwhile is spared: that is looked at again under its lock. A crash
        leaves the rest for the next time.

        Raises:
            TachikomaError: what a destroy raises; those before are gone, those after untouched.
        """
        ports = self._ports
        days = request.days if request.days is not None else ports.settings.prune_after_days
        limit = ports.clock.now() - days * _DAY_S
        vms = (await self._survey(SurveyRequest(), report)).vms
        pruned: list[VmReport] = []
        spared: list[Spared] = []
        for vm in vms:
            if not is_old(vm, limit):
                continue
            why_not = why_it_stays(vm)
            if not why_not and not request.dry_run:
                why_not = await self._try(vm, limit, report)
            if why_not:
                spared.append(Spared(vm.name, vm.branch, why_not))
            else:
                pruned.append(vm)
        return PruneOutcome(
            days=days,
            pruned=tuple(pruned),
            spared=tuple(spared),
            freed_bytes=sum(vm.disk_bytes for vm in pruned),
        )

    async def _try(self, vm: VmReport, limit: float, report: Report) -> str:
        """Destroy ``vm``; gives why it stays instead, if it does."""
        target = Target(cwd=vm.worktree or _NOWHERE, name=vm.name)
        try:
            await self._destroy(DestroyRequest(target, unused_since=limit), report)
        except VmBusyError as error:
            return error.message
        except VmNotFoundError:
            return ""  # somebody else destroyed it meanwhile
        return ""


def is_old(vm: VmReport, limit: float) -> bool:
    """Tell whether nobody has used ``vm`` since ``limit``. One without a record has no age."""
    return vm.last_used is not None and vm.last_used <= limit


def why_it_stays(vm: VmReport) -> str:
    """Say why an old VM is not removed; "" if it may be."""
    match vm.state:
        case VmState.RUNNING:
            return "it runs"
        case VmState.UNKNOWN:
            return "the engine says something about it that is not known"
        case _:
            return ""
