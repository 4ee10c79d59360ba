from __future__ import annotations

import asyncio

import anyio
import pytest

from tachikoma.mcp.call import Voice, apart
from tachikoma.model.events import Notice, StepEnded, StepProgress, StepStarted


async def test_events_become_numbered_words_in_their_order() -> None:
    told: list[tuple[int, str]] = []

    async def tell(count: int, text: str) -> None:
        told.append((count, text))

    voice = Voice(tell)
    for event in (
        StepStarted("clone", "Making the VM's disk"),
        StepProgress("half", 0.5),
        StepEnded("clone", 1.25),
        Notice("the branch is new"),
    ):
        voice.report(event)
    await voice.flush()
    assert told == [
        (1, "Making the VM's disk"),
        (2, "half (50%)"),
        (3, "clone: done in 1.2 s"),
        (4, "the branch is new"),
    ]
    assert voice.notices == ["the branch is new"]


async def test_what_only_moves_is_told_as_it_was_last() -> None:
    told: list[str] = []

    async def tell(_: int, text: str) -> None:
        told.append(text)

    voice = Voice(tell)
    for percent in range(1000):
        voice.report(StepProgress(f"{percent}"))
    await voice.flush()
    assert told == ["999"]


async def test_work_that_is_cancelled_may_give_back_what_it_holds() -> None:
    steps: list[str] = []
    begun = asyncio.Event()

    async def work() -> None:
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            for number in range(3):  # under anyio's rules the first of these would fail
                await asyncio.sleep(0)
                steps.append(f"given back {number}")

    async with anyio.create_task_group() as group:
        group.start_soon(lambda: apart(work(), name="work"))
        await begun.wait()
        group.cancel_scope.cancel()
    assert steps == ["given back 0", "given back 1", "given back 2"]


async def test_what_work_gives_or_raises_comes_through() -> None:
    async def seven() -> int:
        return 7

    async def fails() -> None:
        raise ValueError("no")

    assert await apart(seven(), name="seven") == 7
    with pytest.raises(ValueError, match="no"):
        await apart(fails(), name="fails")
