from __future__ import annotations

import pytest

from tachikoma.hypervisor.synthetic import Synthetic
from tachikoma.model.errors import AgentError, VmNotRunningError
from tachikoma.model.events import silent
from tachikoma.model.names import VmName
from tachikoma.model.vm import GuestCommand, GuestExit, Launch, VmState
from tachikoma.vm.lifecycle import Phase
from tachikoma.vm.requests import SpawnRequest
from tachikoma.vm.sighting import closely, roughly
from tests.unit.vm.conftest import REPOSITORY, Bench

NAME = VmName("tachikoma-app-topic")


@pytest.fixture
async def ready(bench: Bench) -> Bench:
    """Have a VM that is provisioned, and no call of the engine so far."""
    await bench.orchestrator().spawn(SpawnRequest(REPOSITORY, "topic"), silent)
    bench.engine.calls.clear()
    return bench


async def other_plan() -> str:
    return "another digest"


@pytest.mark.parametrize(
    ("state", "phase"),
    [
        (VmState.RUNNING, Phase.BOOTING),
        (VmState.STOPPED, Phase.STOPPED),
        (VmState.SUSPENDED, Phase.SUSPENDED),
        (VmState.UNKNOWN, Phase.UNKNOWN),
    ],
)
async def test_a_rough_look_goes_by_the_engine_alone(
    ready: Bench, state: VmState, phase: Phase
) -> None:
    ready.engine.put_state(NAME, state)
    assert await roughly(ready.engine, NAME) is phase
    assert ready.engine.calls == []


async def test_what_the_engine_does_not_have_is_absent(bench: Bench) -> None:
    assert await roughly(bench.engine, NAME) is Phase.ABSENT
    assert await closely(bench.engine, NAME, other_plan) is Phase.ABSENT


async def test_a_provisioned_vm_is_ready_if_any_plan_will_do(ready: Bench) -> None:
    assert await closely(ready.engine, NAME, None) is Phase.READY
    assert ready.engine.calls == [f"execute {NAME}"]


async def test_a_vm_with_another_plan_is_bare(ready: Bench) -> None:
    assert await closely(ready.engine, NAME, other_plan) is Phase.BARE


async def test_a_vm_with_the_expected_plan_is_ready(ready: Bench) -> None:
    async def expected() -> str:
        return str(ready.guest.plans[-1][1]["digest"])

    assert await closely(ready.engine, NAME, expected) is Phase.READY


async def test_a_fresh_boot_is_bare_whatever_the_boot_before_was(ready: Bench) -> None:
    await ready.engine.stop(NAME, grace_s=0)
    await ready.engine.start(NAME, Launch())
    await ready.clock.sleep(5)
    assert await closely(ready.engine, NAME, None) is Phase.BARE


async def test_a_vm_whose_agent_does_not_answer_is_booting_and_not_asked(ready: Bench) -> None:
    ready.engine.agent_answers = False
    assert await closely(ready.engine, NAME, None) is Phase.BOOTING
    assert ready.engine.calls == []


async def test_a_vm_that_stops_while_it_is_asked_is_seen_as_stopped(bench: Bench) -> None:
    def dying(vm: VmName, launch: Launch | None, command: GuestCommand) -> GuestExit:
        engine.crash(vm)
        raise VmNotRunningError(f"{vm} stopped", hint="start it")

    engine = Synthetic(file=None, clock=bench.clock, guest=dying)
    await engine.clone("synthetic", NAME)
    await engine.start(NAME, Launch())
    assert await closely(engine, NAME, None) is Phase.STOPPED


async def test_an_agent_that_falls_silent_is_an_error_and_not_a_guess(ready: Bench) -> None:
    ready.engine.fail_next("execute", AgentError("no answer", hint="look at its log"))
    with pytest.raises(AgentError):
        await closely(ready.engine, NAME, None)
