from __future__ import annotations

import asyncio

import pytest

from tachikoma.host import tasks


async def test_a_task_runs_under_its_name() -> None:
    async def work() -> int:
        return 7

    task = tasks.spawn(work(), name="the work")
    assert task.get_name() == "the work"
    assert await task == 7


async def test_the_crash_of_a_task_is_logged_with_its_name(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def work() -> None:
        raise ZeroDivisionError("oh")

    task = tasks.spawn(work(), name="the work")
    await asyncio.wait({task})
    await asyncio.wait_for(_called_back(), 5)
    (record,) = caplog.records
    assert record.getMessage() == "background task the work failed"
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ZeroDivisionError)


async def test_ending_a_task_waits_until_it_is_gone_and_is_no_crash(
    caplog: pytest.LogCaptureFixture,
) -> None:
    done = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            done.append("cleaned up")

    task = tasks.spawn(work(), name="the work")
    await _called_back()
    await tasks.end(task)
    assert done == ["cleaned up"]
    assert task.cancelled()
    assert caplog.records == []


async def test_clearing_away_is_done_to_its_end_however_often_it_is_cancelled() -> None:
    may_end, done = asyncio.Event(), []

    async def work() -> None:
        await may_end.wait()
        done.append("cleared away")

    task = tasks.spawn(tasks.to_the_end(work(), name="clear"), name="caller")
    for _ in range(3):
        await _called_back()
        task.cancel()
    await _called_back()
    assert not task.done()
    may_end.set()
    await asyncio.wait({task})
    assert done == ["cleared away"]
    assert task.cancelled()


async def test_what_goes_wrong_in_clearing_away_is_raised() -> None:
    async def work() -> None:
        raise ZeroDivisionError("oh")

    with pytest.raises(ZeroDivisionError):
        await tasks.to_the_end(work(), name="clear")


async def _called_back() -> None:
    """Let what the loop has already been asked to call be called."""
    ran = asyncio.Event()
    asyncio.get_running_loop().call_soon(ran.set)
    await ran.wait()
