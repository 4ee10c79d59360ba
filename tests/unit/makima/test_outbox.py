from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest

from tachikoma.makima.database import Database, opened
from tachikoma.makima.messages import TaskOutput
from tachikoma.makima.outbox import Outbox, Stored
from tachikoma.makima.wire import encode

TASK = UUID("550e8400-e29b-41d4-a716-446655440000")
PLENTY = 1 << 30
NOTHING = ("UPDATE book SET value = '' WHERE name = ?", ("no such",))


def output(text: str) -> TaskOutput:
    return TaskOutput(task_id=TASK, output=text, is_partial=False)


def numbers(count: int, *, since: int = 0) -> list[TaskOutput]:
    return [output(str(since + number)) for number in range(count)]


SIZE = len(encode(output("0")))


def stored(first: int, *texts: str) -> list[Stored]:
    return [Stored(first + at, encode(output(text))) for at, text in enumerate(texts)]


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with opened(tmp_path / "daemon.db", birth={}) as made:
        yield made


@pytest.fixture
def outbox(database: Database) -> Outbox:
    return Outbox(database, newest=10, most_bytes=3 * SIZE)


async def test_messages_are_given_in_the_order_in_which_they_were_said(outbox: Outbox) -> None:
    await outbox.say(numbers(2))
    await outbox.say([])
    await outbox.say(numbers(1, since=2))
    assert await outbox.waiting(0, most_bytes=PLENTY) == stored(11, "0", "1", "2")
    assert await outbox.waiting(12, most_bytes=PLENTY) == stored(13, "2")
    assert await outbox.waiting(13, most_bytes=PLENTY) == []
    assert outbox.said == 13


@pytest.mark.parametrize("at_hand", [True, False])
async def test_a_thousand_messages_said_at_once_are_each_there_in_order(
    outbox: Outbox, database: Database, at_hand: bool
) -> None:
    await outbox.say(numbers(1001))
    if not at_hand:
        outbox = Outbox(database, newest=1011, most_bytes=PLENTY)
    everything = stored(11, *map(str, range(1001)))
    assert await outbox.waiting(0, most_bytes=PLENTY) == everything
    await outbox.delivered(11 + 600)
    assert await outbox.waiting(0, most_bytes=PLENTY) == everything[601:]
    assert await outbox.waiting(11 + 999, most_bytes=PLENTY) == everything[1000:]


@pytest.mark.parametrize(("most", "count"), [(1, 1), (SIZE, 1), (SIZE + 1, 2), (PLENTY, 5)])
async def test_so_many_are_given_as_reach_the_bytes_asked_for_and_one_at_least(
    outbox: Outbox, most: int, count: int
) -> None:
    await outbox.say(numbers(5))
    assert len(await outbox.waiting(0, most_bytes=most)) == count


async def test_messages_of_many_speakers_have_numbers_in_the_order_they_can_be_seen(
    outbox: Outbox,
) -> None:
    seen: list[int] = []

    async def listen() -> None:
        while len(seen) < 40:
            known = outbox.said
            batch = await outbox.waiting(seen[-1] if seen else 0, most_bytes=SIZE)
            seen.extend(each.seq for each in batch)
            if not batch:
                await outbox.more(known)

    async with asyncio.TaskGroup() as group:
        group.create_task(listen())
        for _ in range(20):
            group.create_task(outbox.say(numbers(2)))
    assert seen == list(range(11, 51))


async def test_delivered_messages_are_forgotten_and_none_after_them(outbox: Outbox) -> None:
    await outbox.say(numbers(3))
    await outbox.delivered(12)
    assert await outbox.waiting(0, most_bytes=PLENTY) == stored(13, "2")
    await outbox.delivered(12)
    await outbox.delivered(99)
    assert await outbox.waiting(0, most_bytes=PLENTY) == []
    await outbox.say(numbers(1))
    assert await outbox.waiting(0, most_bytes=PLENTY) == stored(14, "0")


async def test_there_is_room_until_the_bound_and_then_not_before_something_is_delivered(
    outbox: Outbox,
) -> None:
    await outbox.say(numbers(2))
    await outbox.room()
    await outbox.say(numbers(3))  # saying never waits, whatever the bound
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(outbox.room())
        for delivered in (11, 12):
            await outbox.delivered(delivered)
            assert not waiting.done()
        await outbox.delivered(13)


async def test_what_was_there_before_counts(database: Database) -> None:
    await Outbox(database, newest=10, most_bytes=PLENTY).say(numbers(3))
    again = Outbox(database, newest=20, most_bytes=3 * SIZE)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(again.room())
        assert len(await again.waiting(0, most_bytes=PLENTY)) == 3
        assert not waiting.done()
        await again.delivered(11)


async def test_what_failed_is_not_said_and_takes_no_room(outbox: Outbox) -> None:
    with pytest.raises(RuntimeError, match="nothing there to change"):
        await outbox.say(numbers(5), change=NOTHING)
    await outbox.room()
    await outbox.say(numbers(1))
    assert [each.text for each in await outbox.waiting(0, most_bytes=PLENTY)] == [
        encode(output("0"))
    ]


async def test_what_is_too_much_to_be_kept_at_hand_comes_from_the_file_and_in_order(
    outbox: Outbox,
) -> None:
    texts = [f"{number} " + "x" * 500_000 for number in range(14)]
    for text in texts:
        await outbox.say([output(text)])
    seen: list[Stored] = []
    while batch := await outbox.waiting(seen[-1].seq if seen else 0, most_bytes=900_000):
        seen += batch
        await outbox.delivered(batch[0].seq)
    assert seen == stored(11, *texts)


async def test_after_a_failure_nothing_that_was_said_is_passed_over(outbox: Outbox) -> None:
    await outbox.say(numbers(1))
    with pytest.raises(RuntimeError, match="nothing there"):
        await outbox.say(numbers(1, since=1), change=NOTHING)
    await outbox.say(numbers(1, since=2))
    known = outbox.said
    assert await outbox.waiting(0, most_bytes=PLENTY) == [
        *stored(11, "0"),
        *stored(13, "2"),
    ]
    assert await outbox.waiting(11, most_bytes=PLENTY) == stored(13, "2")
    assert await outbox.waiting(13, most_bytes=PLENTY) == []
    async with asyncio.TaskGroup() as group:
        more = group.create_task(outbox.more(known))
        await outbox.say(numbers(1, since=3))
        await more
    assert await outbox.waiting(13, most_bytes=PLENTY) == stored(14, "3")


@pytest.mark.parametrize("turns", range(12))
async def test_who_is_cancelled_while_speaking_has_said_all_or_nothing(
    outbox: Outbox, turns: int
) -> None:
    async with asyncio.TaskGroup() as group:
        speaking = group.create_task(outbox.say(numbers(2)))
        for _ in range(turns):
            await asyncio.sleep(0)
        speaking.cancel()
    await outbox.say(numbers(1, since=2))
    texts = [each.text for each in await outbox.waiting(0, most_bytes=PLENTY)]
    whole = [encode(each) for each in numbers(3)]
    assert texts in (whole, whole[2:])
    await outbox.delivered(outbox.said)
    await outbox.room()
