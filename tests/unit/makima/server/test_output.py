from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tachikoma.host.clock import FakeClock
from tachikoma.makima.server.output import (
    Account,
    Printed,
    account_of,
    append,
    before_last,
    pieces,
    unfinished,
)
from tachikoma.makima.server.store import Store

TASK = 1


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with Store.at(tmp_path / "server.db", clock=FakeClock()) as made:
        yield made


async def printed(store: Store, *texts: str, partial: bool = False, most: int = 1 << 20) -> None:
    async with store.database.transaction() as connection:
        await append(
            connection,
            TASK,
            [Printed(0.0, 1, partial, text) for text in texts],
            most_bytes=most,
        )


async def test_it_is_given_in_order_and_from_where_one_was(store: Store) -> None:
    await printed(store, "a", "b")
    await printed(store, "c")
    found = await pieces(store.database, TASK, after=1, limit=10)
    assert [(each.number, each.text) for each in found] == [(2, "b"), (3, "c")]
    assert await pieces(store.database, TASK, after=3, limit=10) == []
    assert await before_last(store.database, TASK, 2) == 1
    assert await before_last(store.database, TASK, 9) == 0
    assert await account_of(store.database, TASK) == Account(4, 3, 0)


async def test_the_oldest_goes_and_that_is_told(store: Store) -> None:
    for number in range(100):
        await printed(store, f"{number:03}" * 10, most=1000)
    account = await account_of(store.database, TASK)
    assert account.bytes <= 1000
    assert account.bytes + account.dropped == 3000
    found = await pieces(store.database, TASK, after=0, limit=500)
    assert found[-1].text == "099" * 10
    assert sum(len(each.text) for each in found) == account.bytes
    assert found[0].number == 100 - len(found) + 1


async def test_a_piece_beyond_the_bound_stays_alone(store: Store) -> None:
    await printed(store, "a" * 10, "b" * 5000, most=1000)
    found = await pieces(store.database, TASK, after=0, limit=500)
    assert [len(each.text) for each in found] == [5000]


async def test_a_line_that_has_begun_is_found_again(store: Store) -> None:
    await printed(store, "whole")
    await printed(store, *(str(number) for number in range(120)), partial=True)
    assert await unfinished(store.database, TASK, 1) == [str(number) for number in range(120)]
    assert await unfinished(store.database, TASK, 2) == []
    await printed(store, "end")
    assert await unfinished(store.database, TASK, 1) == []


async def test_halves_of_surrogate_pairs_become_question_marks(store: Store) -> None:
    await printed(store, "a\ud800b")
    (piece,) = await pieces(store.database, TASK, after=0, limit=1)
    assert piece.text == "a?b"
