from __future__ import annotations

from pathlib import Path

import pytest

from tachikoma.model.errors import GitError, VmNotFoundError
from tachikoma.model.events import silent
from tachikoma.model.names import VmName
from tachikoma.vm.finding import Known, find_vm
from tachikoma.vm.requests import SpawnRequest, Target
from tests.unit.vm.conftest import REPOSITORY, Bench

MAIN, TOPIC = VmName("tachikoma-app-main"), VmName("tachikoma-app-topic")
STRAY = VmName("tachikoma-app-stray")
ELSEWHERE = Path("/nowhere")


@pytest.fixture
async def grown(bench: Bench) -> Bench:
    """Have VMs of two branches, and one that only the engine knows."""
    for branch in (None, "topic"):
        await bench.orchestrator().spawn(SpawnRequest(REPOSITORY, branch), silent)
    await bench.engine.clone("synthetic", STRAY)
    return bench


@pytest.mark.parametrize(
    ("target", "name"),
    [
        (Target(REPOSITORY), MAIN),
        (Target(REPOSITORY, "topic"), TOPIC),
        (Target(REPOSITORY, str(TOPIC)), TOPIC),
        (Target(ELSEWHERE, str(TOPIC)), TOPIC),
    ],
)
async def test_a_vm_is_found_by_place_branch_or_name(
    grown: Bench, target: Target, name: VmName
) -> None:
    record = grown.store.read().vms[name]
    assert await find_vm(grown.ports(), target) == Known(name, record)


async def test_a_vm_that_only_the_engine_knows_is_found_by_its_name_and_has_no_branch(
    grown: Bench,
) -> None:
    known = await find_vm(grown.ports(), Target(ELSEWHERE, str(STRAY)))
    assert (known, known.branch) == (Known(STRAY, None), "")


@pytest.mark.parametrize("name", ["stray", "no/such", "tachikoma-app-none", "-", "Not A Name"])
async def test_what_nobody_knows_is_said_by_the_name_that_was_given(
    grown: Bench, name: str
) -> None:
    with pytest.raises(VmNotFoundError, match=f"there is no VM for {name}") as caught:
        await find_vm(grown.ports(), Target(REPOSITORY, name))
    assert "tachikoma list" in caught.value.hint


async def test_a_branch_without_a_vm_is_said_by_its_name(bench: Bench) -> None:
    with pytest.raises(VmNotFoundError, match="there is no VM for the branch main"):
        await find_vm(bench.ports(), Target(REPOSITORY))


async def test_outside_of_a_repository_a_name_is_needed(grown: Bench) -> None:
    with pytest.raises(GitError):
        await find_vm(grown.ports(), Target(ELSEWHERE))
    assert (await find_vm(grown.ports(), Target(ELSEWHERE, "topic"))).name == TOPIC
