from __future__ import annotations

from pathlib import Path

import pytest

from tachikoma.model.events import Event, silent
from tachikoma.model.settings import Settings
from tachikoma.model.vm import VmState
from tachikoma.vm.pruning import Pruner, is_old, why_it_stays
from tachikoma.vm.requests import (
    DestroyRequest,
    HaltRequest,
    PruneRequest,
    ReachRequest,
    Spared,
    SpawnRequest,
    SurveyRequest,
    Target,
    VmReport,
)
from tests.unit.vm.conftest import REPOSITORY, Bench

DAY_S = 86_400
HERE = Path("/src/app")


def pruner(bench: Bench, days: int = 30) -> Pruner:
    heart = bench.orchestrator()
    ports = bench.ports(Settings(prune_after_days=days))
    return Pruner(ports=ports, survey=heart.survey, destroy=heart.destroy)


@pytest.fixture
async def aged(bench: Bench) -> Bench:
    """``old`` rests, ``busy`` runs, both unused for 10 days; ``new`` rests since just now."""
    heart = bench.orchestrator()
    for branch in ("old", "busy"):
        await heart.spawn(SpawnRequest(REPOSITORY, branch), silent)
    await heart.halt(HaltRequest(Target(HERE, "old")), silent)
    bench.clock._now += 10 * DAY_S
    await heart.spawn(SpawnRequest(REPOSITORY, "new"), silent)
    await heart.halt(HaltRequest(Target(HERE, "new")), silent)
    return bench


async def left(bench: Bench) -> list[str]:
    found = await bench.orchestrator().survey(SurveyRequest(), silent)
    return sorted(vm.branch for vm in found.vms)


async def test_what_rests_and_is_old_goes_and_the_rest_stays(aged: Bench) -> None:
    outcome = await pruner(aged).prune(PruneRequest(days=7), silent)
    assert [vm.branch for vm in outcome.pruned] == ["old"]
    assert outcome.freed_bytes == outcome.pruned[0].disk_bytes > 0
    (spared,) = outcome.spared
    assert spared == Spared(spared.name, "busy", "it runs")
    assert await left(aged) == ["busy", "new"]


async def test_a_dry_run_says_the_same_and_changes_nothing(aged: Bench) -> None:
    outcome = await pruner(aged).prune(PruneRequest(days=7, dry_run=True), silent)
    assert [vm.branch for vm in outcome.pruned] == ["old"]
    assert await left(aged) == ["busy", "new", "old"]


async def test_the_setting_says_how_long(aged: Bench) -> None:
    assert (await pruner(aged, 30).prune(PruneRequest(), silent)).pruned == ()
    outcome = await pruner(aged, 9).prune(PruneRequest(), silent)
    assert (outcome.days, [vm.branch for vm in outcome.pruned]) == (9, ["old"])


async def test_a_vm_used_meanwhile_is_spared(aged: Bench) -> None:
    heart, first = aged.orchestrator(), True

    async def destroy(request: DestroyRequest, report: object) -> object:
        nonlocal first
        if first:  # somebody is quicker
            first = False
            await heart.spawn(SpawnRequest(REPOSITORY, "old"), silent)
            await heart.reach(ReachRequest(Target(HERE, "old")), silent)
        return await heart.destroy(request, silent)

    trial = pruner(aged)
    trial._destroy = destroy  # type: ignore[assignment]  # the same, a little later
    outcome = await trial.prune(PruneRequest(days=7), silent)
    assert outcome.pruned == ()
    assert {spared.branch: spared.why for spared in outcome.spared} == {
        "busy": "it runs",
        "old": "tachikoma-app-old has just been used",
    }
    assert await left(aged) == ["busy", "new", "old"]


async def test_a_record_whose_vm_is_gone_goes_as_well(aged: Bench) -> None:
    name = next(vm for vm in aged.store.read().vms if vm.endswith("-old"))
    await aged.engine.delete(name)
    said: list[Event] = []
    outcome = await pruner(aged).prune(PruneRequest(days=7), said.append)
    assert [vm.state for vm in outcome.pruned] == [None]
    assert await left(aged) == ["busy", "new"]


def report(state: VmState | None, last_used: float | None) -> VmReport:
    return VmReport(
        *("tachikoma-a-b", "b", None, "a", None, "e", "i", state, 1, 1, 1, 0.0, last_used)  # type: ignore[arg-type]  # in order
    )


def test_a_vm_of_which_nobody_knows_when_it_was_used_is_never_old() -> None:
    assert not is_old(report(VmState.STOPPED, None), 1e12)
    assert is_old(report(VmState.STOPPED, 5.0), 5.0)
    assert not is_old(report(VmState.STOPPED, 5.1), 5.0)


@pytest.mark.parametrize("state", [VmState.STOPPED, VmState.SUSPENDED, None])
def test_what_rests_may_go(state: VmState | None) -> None:
    assert why_it_stays(report(state, 0.0)) == ""


@pytest.mark.parametrize("state", [VmState.RUNNING, VmState.UNKNOWN])
def test_what_may_be_at_work_stays(state: VmState) -> None:
    assert why_it_stays(report(state, 0.0))
