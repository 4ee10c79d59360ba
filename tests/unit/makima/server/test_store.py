from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from sqlite3 import connect
from uuid import UUID

import pytest

from tachikoma.host.clock import FakeClock
from tachikoma.makima.record import TaskStatus
from tachikoma.makima.server.bodies import TaskQuery
from tachikoma.makima.server.changing import Aftermath
from tachikoma.makima.server.course import Completed, Interrupted, Order, Said
from tachikoma.makima.server.entries import Entry, Texts
from tachikoma.makima.server.store import EVENTS, Store
from tachikoma.model.errors_fleet import BookError, BookTooNewError

LEAD, PART, OTHER = (UUID(int=number) for number in (1, 2, 3))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with Store.at(tmp_path / "server.db", clock=FakeClock()) as made:
        yield made


def written(path: Path, statement: str) -> None:
    with closing(connect(path)) as connection, connection:
        connection.execute(statement)


async def add(store: Store, id_: UUID, *needs: UUID, parent: UUID | None = None) -> Entry:
    entry = Entry(
        id=id_, name=f"task {id_.int}", created=1.0, parent=parent, orchestrator=id_ == LEAD
    )
    async with store.change() as change:
        return await change.add(entry, Texts("plan"), needs)


async def assigned(store: Store, id_: UUID) -> Entry:
    async with store.change() as change:
        machine = await change.welcome("m", "host", 2)
        entry = await change.entry(id_)
        assert entry is not None
        return await change.assign(entry, machine)


async def test_a_task_is_read_as_it_was_written(store: Store) -> None:
    entry = await add(store, LEAD)
    assert await store.entry(LEAD) == entry
    given = await assigned(store, LEAD)
    changed = replace(given, archived=True, summary="half a pair \ud800")
    async with store.change() as change:
        kept = await change.put(changed, "changed", "x")
    assert await store.entry(LEAD) == replace(kept, summary="half a pair ?")


async def test_nothing_is_written_by_a_change_that_fails(store: Store) -> None:
    await add(store, LEAD)
    before = await store.latest_event()
    told: list[Aftermath] = []
    store.after = told.append

    async def fail() -> None:
        async with store.change() as change:
            entry = await change.entry(LEAD)
            assert entry is not None
            await change.say(entry, Interrupted())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    found = await store.entry(LEAD)
    assert found is not None
    assert found.status is TaskStatus.PENDING
    assert await store.latest_event() == before
    assert told == []


async def test_what_follows_from_a_change_is_told_once_it_is_kept(store: Store) -> None:
    await add(store, LEAD)
    await add(store, PART, parent=LEAD)
    await add(store, OTHER, LEAD)
    told: list[Aftermath] = []
    store.after = told.append
    with store.bells.heard(EVENTS) as rung:
        async with store.change() as change:
            entry = await change.entry(LEAD)
            assert entry is not None
            await change.say(entry, Interrupted())
        assert rung.is_set()
    (after,) = told
    assert [(order, entry.id) for order, entry in after.orders] == [
        (Order.ENDED, LEAD),
        (Order.ENDED, PART),
        (Order.ENDED, OTHER),
    ]
    errors = {each: await store.entry(each) for each in (PART, OTHER)}
    assert [entry and entry.standing.error for entry in errors.values()] == [
        "its orchestrator has ended",
        "the task “task 1” that it depends on was interrupted",
    ]


async def test_only_what_needs_nothing_more_is_ready(store: Store) -> None:
    await add(store, LEAD)
    await add(store, OTHER, LEAD)
    async with store.change() as change:
        assert [each.id for each in await change.ready()] == [LEAD]
    await assigned(store, LEAD)
    async with store.change() as change:
        assert await change.ready() == []
        assert [each.id for each in await change.out()] == [LEAD]
        (entry,) = await change.out()
        entry = await change.say(entry, Said(TaskStatus.RUNNING))
        await change.say(entry, Completed(success=True))
        assert [each.id for each in await change.ready()] == [OTHER]


async def test_a_tree_is_searched_from_its_top(store: Store) -> None:
    await add(store, LEAD)
    await add(store, PART, parent=LEAD)
    await add(store, OTHER)
    assert await store.is_under(PART, LEAD)
    assert not await store.is_under(OTHER, LEAD)
    found, total = await store.entries(TaskQuery(), under=LEAD)
    assert ([each.id for each in found], total) == ([PART, LEAD], 2)
    found, total = await store.entries(TaskQuery(search="TASK 3"), under=None)
    assert ([each.id for each in found], total) == ([OTHER], 1)
    found, _ = await store.entries(TaskQuery(begin=str(PART)[:36]), under=None)
    assert [each.id for each in found] == [PART]
    events = await store.events(0, limit=10, under=LEAD)
    assert [each.task for each in events] == [LEAD, PART]


async def test_old_events_go(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tachikoma.makima.server.changing.EVENTS_KEPT", 100)
    async with store.change() as change:
        for number in range(600):
            await change.happened("x", str(number))
    assert await store.oldest_event() > 400
    assert await store.latest_event() == 600


async def test_another_server_cannot_have_it(store: Store, tmp_path: Path) -> None:
    del store
    with pytest.raises(BookError, match="in use by another makima server"):
        async with Store.at(tmp_path / "server.db", clock=FakeClock()):
            pass


async def test_the_store_of_a_later_tachikoma_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "server.db"
    async with Store.at(path, clock=FakeClock()):
        pass
    await asyncio.to_thread(written, path, "PRAGMA user_version = 99")
    with pytest.raises(BookTooNewError):
        async with Store.at(path, clock=FakeClock()):
            pass
    path.unlink()
    await asyncio.to_thread(written, path, "CREATE TABLE mine (x)")
    with pytest.raises(BookError, match="no database of a makima server's"):
        async with Store.at(path, clock=FakeClock()):
            pass
