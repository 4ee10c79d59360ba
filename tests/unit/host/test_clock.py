from __future__ import annotations

import asyncio
import time

from tachikoma.host.clock import FakeClock, SystemClock, attempts


async def times(clock: FakeClock, *, deadline_s: float, **others: float) -> list[float]:
    start = clock.now()
    passed = attempts(clock, deadline_s=deadline_s, **others)
    return [round(clock.now() - start, 6) async for _ in passed]


async def test_attempts_start_at_once_and_come_with_growing_pauses_until_the_deadline() -> None:
    seen = await times(FakeClock(), deadline_s=10, first_s=1, most_s=2)
    assert seen == [0, 1, 2.5, 4.5, 6.5, 8.5, 10]


async def test_the_last_attempt_is_at_the_deadline_however_short() -> None:
    assert await times(FakeClock(), deadline_s=0.01, first_s=1) == [0, 0.01]


async def test_without_time_there_is_one_attempt() -> None:
    assert await times(FakeClock(), deadline_s=0) == [0]
    assert await times(FakeClock(), deadline_s=-5) == [0]


async def test_attempts_tell_the_time_left() -> None:
    left = [each async for each in attempts(FakeClock(), deadline_s=3, first_s=1, most_s=1)]
    assert left == [3, 2, 1, 0]


async def test_who_has_what_it_wants_leaves_without_a_pause() -> None:
    clock = FakeClock(start=100.0)
    async for _ in attempts(clock, deadline_s=10):
        break
    assert clock.now() == 100.0


async def test_time_spent_within_an_attempt_counts() -> None:
    clock = FakeClock(start=0.0)
    seen = 0
    async for _ in attempts(clock, deadline_s=5):
        seen += 1
        await clock.sleep(6)
    assert seen == 1


async def test_sleeping_on_the_fake_clock_takes_no_time_and_lets_others_run() -> None:
    clock = FakeClock(start=1.0)
    ran = asyncio.Event()
    asyncio.get_running_loop().call_soon(ran.set)
    began = time.monotonic()
    await clock.sleep(3600)
    assert ran.is_set()
    assert (clock.now(), clock.monotonic()) == (3601.0, 3601.0)
    assert time.monotonic() - began < 60


async def test_the_system_clock_is_that_of_the_machine() -> None:
    clock = SystemClock()
    assert abs(clock.now() - time.time()) < 5
    began = clock.monotonic()
    await clock.sleep(0.01)
    assert clock.monotonic() - began >= 0.009
