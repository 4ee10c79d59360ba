from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tachikoma.hypervisor.synthetic import Synthetic
from tachikoma.model.errors import (
    CheckpointError,
    DiskFullError,
    UnsupportedError,
    VmNotFoundError,
    VmStateError,
)
from tachikoma.model.events import Event, Notice, StepEnded, StepStarted, silent
from tachikoma.model.names import VmName
from tachikoma.model.vm import Checkpoint, Feature, Features, VmState
from tachikoma.vm.keeping import Keeping, checked
from tachikoma.vm.requests import (
    CheckpointOutcome,
    CheckpointRequest,
    CheckpointsOutcome,
    CheckpointsRequest,
    SpawnRequest,
    Target,
)
from tests.unit.vm.conftest import REPOSITORY, Bench

NAME = VmName("tachikoma-app-main")
HERE = Target(REPOSITORY)
ONE = CheckpointRequest(HERE, "one")


class Without(Synthetic):
    """An engine whose disks keep nothing."""

    @property
    def features(self) -> Features:
        cannot = Feature(available=False, why="its disks are raw")
        return replace(super().features, checkpoints=cannot)


@pytest.fixture
async def ready(bench: Bench) -> Bench:
    """Have a VM that runs, and no call of the engine so far."""
    await bench.orchestrator().spawn(SpawnRequest(REPOSITORY, None), silent)
    bench.engine.calls.clear()
    return bench


def keeping(bench: Bench) -> Keeping:
    return Keeping(ports=bench.ports())


async def labels(bench: Bench) -> list[str]:
    return [each.label for each in await bench.engine.checkpoints(NAME)]


async def state(bench: Bench) -> VmState:
    info = await bench.engine.find(NAME)
    assert info is not None
    return info.state


async def test_a_running_vm_is_kept_as_it_is_and_runs_on(ready: Bench) -> None:
    outcome = await keeping(ready).save(ONE, ready.said.append)
    assert outcome == CheckpointOutcome(NAME, "main", "one", REPOSITORY, halted=False)
    assert ready.engine.calls == [f"save_checkpoint {NAME}"]
    assert await state(ready) is VmState.RUNNING
    assert [e for e in ready.said if isinstance(e, StepStarted | StepEnded)][-2:] == [
        StepStarted("save", "Keeping the disk as it is"),
        StepEnded("save", 0.0),
    ]


async def test_checkpoints_are_listed_with_their_time_the_oldest_first(ready: Bench) -> None:
    begun = ready.clock.now()
    await keeping(ready).save(ONE, silent)
    await ready.clock.sleep(60)
    await keeping(ready).save(CheckpointRequest(HERE, "two"), silent)
    assert await keeping(ready).all(CheckpointsRequest(HERE), silent) == CheckpointsOutcome(
        NAME, "main", (Checkpoint("one", begun), Checkpoint("two", begun + 60))
    )


async def test_a_label_that_is_taken_is_refused(ready: Bench) -> None:
    await keeping(ready).save(ONE, silent)
    with pytest.raises(CheckpointError, match="has a checkpoint one already"):
        await keeping(ready).save(ONE, silent)
    assert await labels(ready) == ["one"]


async def test_going_back_stops_what_runs_at_once_and_leaves_the_worktree(ready: Bench) -> None:
    await keeping(ready).save(ONE, silent)
    ready.engine.calls.clear()
    ready.engine.agent_answers = False
    begun = ready.clock.now()
    outcome = await keeping(ready).restore(ONE, silent)
    assert outcome == CheckpointOutcome(NAME, "main", "one", REPOSITORY, halted=True)
    assert ready.engine.calls == [f"stop {NAME}", f"restore_checkpoint {NAME}"]
    assert (await state(ready), ready.clock.now()) == (VmState.STOPPED, begun)
    assert await labels(ready) == ["one"]


@pytest.mark.parametrize("before", [VmState.STOPPED, VmState.SUSPENDED])
async def test_what_is_at_rest_goes_back_and_is_not_said_to_have_run(
    ready: Bench, before: VmState
) -> None:
    await keeping(ready).save(ONE, silent)
    ready.engine.put_state(NAME, before)
    assert not (await keeping(ready).restore(ONE, silent)).halted
    assert await state(ready) is VmState.STOPPED


async def test_what_the_engine_cannot_explain_is_not_stopped(ready: Bench) -> None:
    await keeping(ready).save(ONE, silent)
    ready.engine.put_state(NAME, VmState.UNKNOWN)
    ready.engine.calls.clear()
    with pytest.raises(VmStateError, match="tachikoma does not know"):
        await keeping(ready).restore(ONE, silent)
    assert (await state(ready), ready.engine.calls) == (VmState.UNKNOWN, [])


async def test_letting_go_of_one_leaves_the_vm_and_the_others(ready: Bench) -> None:
    for label in ("one", "two"):
        await keeping(ready).save(CheckpointRequest(HERE, label), silent)
    outcome = await keeping(ready).delete(ONE, silent)
    assert outcome == CheckpointOutcome(NAME, "main", "one", REPOSITORY, halted=False)
    assert (await labels(ready), await state(ready)) == (["two"], VmState.RUNNING)


@pytest.mark.parametrize("act", [Keeping.restore, Keeping.delete])
@pytest.mark.parametrize(
    ("kept", "hint"), [((), "it has none at all"), (("two", "three"), "it has: two, three")]
)
async def test_a_label_that_is_not_there_is_told_with_those_that_are_and_the_vm_runs_on(
    ready: Bench, act: Callable[..., Any], kept: tuple[str, ...], hint: str
) -> None:
    for label in kept:
        await keeping(ready).save(CheckpointRequest(HERE, label), silent)
    ready.engine.calls.clear()
    with pytest.raises(CheckpointError, match=f"{NAME} has no checkpoint one") as caught:
        await act(keeping(ready), ONE, silent)
    assert caught.value.hint == hint
    assert (ready.engine.calls, await state(ready)) == ([], VmState.RUNNING)


async def test_a_full_disk_is_told_and_nothing_is_kept(ready: Bench) -> None:
    ready.engine.fail_next("save_checkpoint", DiskFullError("full"))
    with pytest.raises(DiskFullError):
        await keeping(ready).save(ONE, ready.said.append)
    assert (await labels(ready), await state(ready)) == ([], VmState.RUNNING)


async def test_an_engine_without_checkpoints_says_why_before_anything_is_done(
    bench: Bench,
) -> None:
    bench.engine = Without(file=None, clock=bench.clock, guest=bench.guest)
    await bench.engine.clone("synthetic", NAME)
    bench.engine.calls.clear()
    target = Target(REPOSITORY, str(NAME))
    acts = [keeping(bench).save, keeping(bench).restore, keeping(bench).delete]
    for act in acts:
        with pytest.raises(UnsupportedError, match="there are no checkpoints") as caught:
            await act(CheckpointRequest(target, "one"), silent)
        assert caught.value.hint == "its disks are raw"
    with pytest.raises(UnsupportedError):
        await keeping(bench).all(CheckpointsRequest(target), silent)
    assert bench.engine.calls == []


async def test_a_vm_that_nobody_knows_has_none(bench: Bench) -> None:
    with pytest.raises(VmNotFoundError):
        await keeping(bench).save(ONE, silent)
    with pytest.raises(VmNotFoundError):
        await keeping(bench).all(CheckpointsRequest(HERE), silent)


async def test_a_vm_without_a_record_is_kept_too_and_has_no_worktree(bench: Bench) -> None:
    await bench.engine.clone("synthetic", NAME)
    request = CheckpointRequest(Target(REPOSITORY, str(NAME)), "one")
    assert await keeping(bench).save(request, silent) == CheckpointOutcome(NAME, "", "one", None)


async def test_it_waits_for_another_command_that_works_on_the_vm(ready: Bench) -> None:
    waits = asyncio.Event()

    def report(event: Event) -> None:
        assert isinstance(event, Notice | StepStarted | StepEnded)
        if isinstance(event, Notice):
            assert event.text.endswith("(spawn)")
            waits.set()

    async with ready.store.hold(NAME, "spawn", report=silent, deadline_s=1):
        saving = asyncio.create_task(keeping(ready).save(ONE, report))
        await asyncio.wait_for(waits.wait(), 5)
        assert await labels(ready) == []
    await saving
    assert await labels(ready) == ["one"]


@pytest.mark.parametrize("label", ["a", "before-upgrade", "1.0_rc", "A" * 64])
def test_a_label_of_plain_characters_is_one(label: str) -> None:
    assert checked(label) == label


@pytest.mark.parametrize(
    "label", ["", "-c", ".", "..", "a b", "a/b", "a\n", "ä", "a,b", "_x", "A" * 65]
)
async def test_no_other_label_comes_near_the_engine(ready: Bench, label: str) -> None:
    with pytest.raises(CheckpointError, match="is no name for a checkpoint") as caught:
        await keeping(ready).save(CheckpointRequest(HERE, label), silent)
    assert "64 at most" in caught.value.hint
    assert ready.engine.calls == []
