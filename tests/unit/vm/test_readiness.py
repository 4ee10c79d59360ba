from __future__ import annotations

import pytest

from tachikoma.host.clock import FakeClock
from tachikoma.model.errors import BootTimeoutError
from tachikoma.model.events import Event, StepProgress, silent
from tachikoma.model.names import VmName
from tachikoma.vm.readiness import Requirement, wait_for

VM = VmName("tachikoma-app-main")


def after(asked: int) -> Requirement:
    count = 0

    async def met() -> bool:
        nonlocal count
        count += 1
        return count > asked

    return Requirement(f"answers after {asked}", "look at the log", met)


async def never() -> bool:
    return False


async def test_requirements_are_waited_for_in_their_order() -> None:
    said: list[Event] = []
    await wait_for(
        (after(3), after(1)), vm=VM, deadline_s=60, clock=FakeClock(), report=said.append
    )
    assert said == [StepProgress("answers after 3"), StepProgress("answers after 1")]


async def test_a_timeout_names_the_requirement_and_what_to_look_at() -> None:
    with pytest.raises(BootTimeoutError, match="not within 30 s: has an address") as caught:
        await wait_for(
            (after(0), Requirement("has an address", "see console.log", never)),
            vm=VM,
            deadline_s=30,
            clock=FakeClock(),
            report=silent,
        )
    assert caught.value.hint == "see console.log"


async def test_all_requirements_share_one_deadline() -> None:
    clock = FakeClock()
    begun = clock.now()
    with pytest.raises(BootTimeoutError):
        await wait_for(
            (after(20), Requirement("never", "", never)),
            vm=VM,
            deadline_s=10,
            clock=clock,
            report=silent,
        )
    assert clock.now() - begun == pytest.approx(10)
