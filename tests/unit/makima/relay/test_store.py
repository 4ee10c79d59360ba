from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from tachikoma.host.clock import FakeClock, SystemClock
from tachikoma.makima.book import Book
from tachikoma.makima.messages import RegisterToolKey, TaskProgress
from tachikoma.makima.relay import store as stores
from tachikoma.makima.relay.entries import (
    Addressed,
    Batch,
    Entry,
    Event,
    Known,
    MachineRow,
    Moved,
    Status,
)
from tachikoma.makima.relay.store import MOST_EVENTS, Store
from tachikoma.model.errors_fleet import BookError

ONE, TWO = UUID(int=1), UUID(int=2)
CLOCK = FakeClock()
PENDING = Entry(ONE, 1, "first", 10.0)
HELD = Entry(TWO, 2, "second", 11.0, Status.DISPATCHED, "m", 12.0, said="running")
MACHINE = MachineRow("m", UUID(int=7), "box", 5, CLOCK.now())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "relay.db"


async def test_what_was_written_is_known_to_the_next_relay(file: Path) -> None:
    async with Store.at(file, clock=CLOCK) as store:
        first = store.machine_id
        await store.write(
            Batch(
                tasks={ONE: PENDING, TWO: HELD},
                machines={"m": MACHINE},
                addressed=[Addressed(3, "m", TWO, "text")],
                state={"processed": "42", "newest_command": "9"},
            )
        )
    async with Store.at(file, clock=CLOCK) as store:
        assert store.machine_id == first
        assert await store.known() == Known(
            tasks=(PENDING, HELD),
            machines=(MACHINE,),
            addressed=((3, "m", TWO),),
            newest_command=9,
            processed=42,
        )


async def test_a_new_database_knows_nothing(file: Path) -> None:
    async with Store.at(file, clock=CLOCK) as store:
        assert await store.known() == Known()
        assert await store.value("anything") is None


async def test_commands_that_waited_are_numbered_in_their_order(file: Path) -> None:
    async with Store.at(file, clock=CLOCK) as store:
        await store.write(Batch(waiting=[(ONE, "a"), (TWO, "other"), (ONE, "b")]))
        await store.write(
            Batch(moved=[Moved(ONE, "m", 10)], addressed=[Addressed(12, "m", ONE, "c")])
        )
        assert await store.commands("m", after=0) == [(10, "a"), (11, "b"), (12, "c")]
        assert await store.commands("m", after=11) == [(12, "c")]
        await store.write(Batch(delivered={"m": 11}))
        assert await store.commands("m", after=0) == [(12, "c")]
        await store.write(Batch(dropped=[TWO]))
        await store.write(Batch(moved=[Moved(TWO, "m", 20)]))
        assert await store.commands("m", after=12) == []


async def test_commands_come_in_pieces_of_some_size_but_at_least_one(file: Path) -> None:
    big = "x" * stores.BATCH_BYTES
    async with Store.at(file, clock=CLOCK) as store:
        texts = [big, big, "small", "small"]
        await store.write(
            Batch(addressed=[Addressed(at, "m", ONE, text) for at, text in enumerate(texts, 1)])
        )
        assert [at for at, _ in await store.commands("m", after=0)] == [1]
        assert [at for at, _ in await store.commands("m", after=2)] == [3, 4]


async def test_a_page_of_the_history_has_the_newest_first(file: Path) -> None:
    entries = [replace(PENDING, id=UUID(int=at), arrival=at) for at in range(1, 8)]
    async with Store.at(file, clock=CLOCK) as store:
        await store.write(Batch(tasks={each.id: each for each in entries}))
        page, total = await store.tasks(limit=3, offset=2)
        assert ([each.arrival for each in page], total) == ([5, 4, 3], 7)
        await store.write(Batch(forgotten=[UUID(int=7)]))
        assert await store.tasks(limit=9, offset=6) == ([], 6)


async def test_the_last_two_hundred_events_are_kept(file: Path) -> None:
    async with Store.at(file, clock=CLOCK) as store:
        for start in range(0, 500, 125):
            events = [Event(float(at), "kind", f"n{at}") for at in range(start, start + 125)]
            await store.write(Batch(events=events))
        kept = await store.events(limit=1000)
        assert [each.at for each in kept] == [float(at) for at in range(499, 499 - MOST_EVENTS, -1)]


async def test_messages_and_what_is_known_are_written_together_or_not_at_all(file: Path) -> None:
    message = TaskProgress(task_id=ONE, summary="half")
    async with Store.at(file, clock=CLOCK) as store:
        await store.write(Batch(says=[message], tasks={ONE: PENDING}))
        clash = replace(HELD, id=ONE, arrival=5)
        with pytest.raises(BookError):
            await store.write(Batch(says=[message], tasks={TWO: HELD, ONE: clash}))
        assert (await store.known()).tasks == (PENDING,)
        assert (await store.unsent())[0] == 1


async def test_text_that_is_no_unicode_is_kept_as_far_as_it_is(file: Path) -> None:
    async with Store.at(file, clock=CLOCK) as store:
        await store.write(Batch(tasks={ONE: replace(PENDING, error="half \ud800")}))
        assert (await store.known()).tasks[0].error == "half ?"


async def test_of_a_key_that_the_server_has_nothing_is_left_in_the_tables(file: Path) -> None:
    async with Store.at(file, clock=CLOCK) as store:
        await store.write(Batch(says=[RegisterToolKey(task_id=ONE, key="very-secret")]))
        (said,) = await store.outbox.waiting(0, most_bytes=1)
        await store.outbox.delivered(said.seq)
    assert b"very-secret" not in file.read_bytes()


async def test_a_machine_not_seen_for_a_month_is_forgotten_unless_it_has_tasks(
    file: Path,
) -> None:
    old = replace(MACHINE, seen=0.0)
    async with Store.at(file, clock=CLOCK) as store:
        await store.write(Batch(machines={"m": old, "n": replace(old, id="n")}, tasks={TWO: HELD}))
    async with Store.at(file, clock=CLOCK) as store:
        assert [each.id for each in (await store.known()).machines] == ["m"]


async def test_the_database_of_a_daemon_is_refused(file: Path) -> None:
    async with Book.at(file, clock=SystemClock()):
        pass
    with pytest.raises(BookError, match="no database of a makima relay's"):
        async with Store.at(file, clock=CLOCK):
            pass
