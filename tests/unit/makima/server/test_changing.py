from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest

from tachikoma.host.clock import FakeClock
from tachikoma.makima.record import Figures, TaskStatus
from tachikoma.makima.server.course import Completed, Found, Resumed, Retried, Vanished
from tachikoma.makima.server.entries import Entry, Places, Texts
from tachikoma.makima.server.store import Store
from tachikoma.model.errors_fleet import RequestError

TASK = UUID(int=1)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with Store.at(tmp_path / "server.db", clock=FakeClock()) as made:
        async with made.change() as change:
            await change.add(Entry(id=TASK, name="x", created=0.0), Texts("plan", asked="{}"), ())
        yield made


async def test_attempts_are_kept_with_how_they_ended(store: Store) -> None:
    async with store.change() as change:
        machine = await change.welcome("m", "host", 2)
        entry = await change.entry(TASK)
        assert entry is not None
        entry = await change.assign(entry, machine)
        assert entry.current == TASK
        entry = await change.account(entry, TASK, Figures(turns=1, cost_usd=0.5), "half")
        entry = await change.say(entry, Completed(success=False, error="no"))
        entry = await change.say(entry, Retried())
        entry = await change.assign(entry, machine)
        assert entry.current not in {None, TASK}
        assert entry.current is not None
        entry = await change.account(entry, entry.current, Figures(turns=2), "whole")
        entry = await change.say(entry, Completed(success=True))
        first, second = await change.attempts(TASK)
        assert (first.status, first.error) == (TaskStatus.FAILED, "no")
        assert (second.status, second.number) == (TaskStatus.DONE, 2)
        assert entry.figures == Figures(turns=3, cost_usd=0.5)
        assert (await change.texts(TASK)).result == "whole"
        assert await change.entry(second.id) == entry


async def test_an_attempt_that_was_given_up_is_open_again_when_it_is_found(store: Store) -> None:
    async with store.change() as change:
        machine = await change.welcome("m", "host", 2)
        entry = await change.entry(TASK)
        assert entry is not None
        entry = await change.say(await change.assign(entry, machine), Vanished("away"))
        (attempt,) = await change.attempts(TASK)
        assert (attempt.status, attempt.error) == (TaskStatus.FAILED, "away")
        await change.say(entry, Found())
        (attempt,) = await change.attempts(TASK)
        assert (attempt.status, attempt.error, attempt.ended) == (TaskStatus.RUNNING, "", None)


async def test_a_word_that_makes_no_sense_is_a_conflict(store: Store) -> None:
    async with store.change() as change:
        entry = await change.entry(TASK)
        assert entry is not None
        with pytest.raises(RequestError) as caught:
            await change.say(entry, Retried())
        assert (caught.value.status, caught.value.reason) == (409, "wrong_state")
        assert await change.say(entry, Resumed()) == entry


async def test_a_machine_keeps_its_id_and_its_number(store: Store) -> None:
    async with store.change() as change:
        first = await change.welcome("m", "host", 2)
        await change.heard_up_to(first.id, 7)
        await change.heard_up_to(first.id, 5)
        await change.places(first.id, Places("/w", "/h", "/t"))
        again = await change.welcome("m", "renamed", 4)
        other = await change.welcome("m2", "host", 0)
    assert (again.id, again.seq, again.hostname, again.most) == (first.id, 7, "renamed", 4)
    assert again.places == Places("/w", "/h", "/t")
    assert other.id != first.id


async def test_load_is_kept_for_a_while(store: Store) -> None:
    clock = store.clock
    async with store.change() as change:
        machine = await change.welcome("m", "host", 4)
    for active in (1, 2, 3):
        async with store.change() as change:
            await change.heartbeat(machine.id, active=active, most=4, keep_s=150)
        await clock.sleep(100)
    assert [each[1:] for each in await store.load(machine.id, 0.0)] == [(2, 4), (3, 4)]
