from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tachikoma.host.clock import FakeClock
from tachikoma.makima.messages import (
    Message,
    TaskComplete,
    TaskOutput,
    TaskProgress,
    TaskStatusChange,
)
from tachikoma.makima.server.entries import Entry, Texts
from tachikoma.makima.server.hearing import Hearing, _runs
from tachikoma.makima.server.store import Store

TASK, OTHER = UUID(int=1), UUID(int=2)


def output(text: str, task: UUID = TASK) -> TaskOutput:
    return TaskOutput(task_id=task, output=text, is_partial=False)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with Store.at(tmp_path / "server.db", clock=FakeClock()) as made:
        async with made.change() as change:
            machine = await change.welcome("m", "host", 2)
            entry = Entry(id=TASK, name="x", created=0.0)
            await change.assign(await change.add(entry, Texts("plan"), ()), machine)
        yield made


async def heard(store: Store, *said: Message, machine: UUID | None = None) -> Entry:
    (ours,) = await store.machines()
    async with store.change() as change:
        await Hearing(store.database).take(change, machine or ours.id, said)
    found = await store.entry(TASK)
    assert found is not None
    return found


async def test_a_task_goes_the_way_that_its_daemon_says(store: Store) -> None:
    entry = await heard(
        store,
        TaskStatusChange(task_id=TASK, old_status="pending", new_status="running"),
        output("a"),
        output("b"),
        TaskProgress(task_id=TASK, summary="half"),
        TaskStatusChange(task_id=TASK, old_status="running", new_status="no such word"),
    )
    assert (entry.status.value, entry.summary) == ("running", "half")
    found = await store.printed(entry, after=0, limit=9)
    assert [each.text for each in found] == ["a", "b"]


async def test_another_machine_is_not_believed(store: Store) -> None:
    entry = await heard(
        store, TaskComplete(task_id=TASK, success=True), output("x"), machine=UUID(int=9)
    )
    assert entry.status.value == "pending"
    assert await store.printed(entry, after=0, limit=9) == []


async def test_of_an_unknown_task_nothing_is_kept(store: Store) -> None:
    await heard(store, output("x", OTHER), TaskComplete(task_id=OTHER, success=True))
    assert await store.entry(OTHER) is None


@given(st.lists(st.sampled_from(["1", "2", "progress"]), max_size=20))
def test_runs_keep_the_order_of_all_that_was_said(kinds: list[str]) -> None:
    said: list[Message] = [
        TaskProgress(task_id=TASK, summary="x")
        if kind == "progress"
        else output(str(at), UUID(int=int(kind)))
        for at, kind in enumerate(kinds)
    ]
    runs = list(_runs(said))
    assert [each for run in runs for each in run] == said
    for run in runs:
        assert len(run) == 1 or len({getattr(each, "task_id", None) for each in run}) == 1
