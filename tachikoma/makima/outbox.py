"""What the daemon has to say and its server may not have heard yet: in order, on disk, bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiosqlite

from tachikoma.makima.database import Database
from tachikoma.makima.messages import Message
from tachikoma.makima.wire import encode

_LOOKED_THROUGH = 2048
"""So many messages at most are handed out at once."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A message as it was said. ``seq`` is higher than that of any message said before, also by
    an earlier process; there may be gaps.
    """

    seq: int
    text: str = field(repr=False)


@dataclass(slots=True)
class _Count:
    change: int = 0


class Outbox:
    """The messages in ``database`` that are not delivered, ``most_bytes`` of them or a little more.

    Nothing is ever dropped and saying never waits: whoever makes output waits in `room` first.
    """

    def __init__(self, database: Database, *, newest: int, most_bytes: int) -> None:
        self._database = database
        self._newest = newest
        self._most_bytes = most_bytes
        self._bytes: int | None = None
        self._turn = asyncio.Lock()
        self._spoken = asyncio.Event()
        self._shrunk = asyncio.Event()

    @property
    def newest(self) -> int:
        """The highest ``seq`` that was given out."""
        return self._newest

    @asynccontextmanager
    async def saying(self, messages: Sequence[Message]) -> AsyncIterator[aiosqlite.Connection]:
        """Append ``messages`` in the same transaction as what the block does."""
        texts = [encode(message) for message in messages]
        sizes = [len(text.encode()) for text in texts]
        async with self._counting() as count, self._database.transaction() as connection:
            yield connection
            # Numbered within the transaction: what is committed later has the higher number.
            rows = [
                (self._newest + at, size, text)
                for at, (size, text) in enumerate(zip(sizes, texts, strict=True), 1)
            ]
            self._newest += len(rows)
            if rows:
                await connection.executemany("INSERT INTO outbox VALUES (?, ?, ?)", rows)
            count.change = sum(sizes)
        self._spoken.set()

    async def room(self) -> None:
        """Wait while there is too much in it already."""
        while await self._size() >= self._most_bytes:
            self._shrunk.clear()
            await self._shrunk.wait()

    async def waiting(self, after: int, *, most_bytes: int) -> list[Stored]:
        """Give the oldest messages after ``after``: at least one if there is one, and together not
        much above ``most_bytes``.
        """
        self._spoken.clear()
        sizes = await self._database.rows(
            "SELECT seq, size FROM outbox WHERE seq > ? ORDER BY seq LIMIT ?",
            (after, _LOOKED_THROUGH),
        )
        last = total = 0
        for seq, size in sizes:
            last, total = seq, total + size
            if total >= most_bytes:
                break
        if not last:
            return []
        return [
            Stored(seq, text)
            for seq, text in await self._database.rows(
                "SELECT seq, text FROM outbox WHERE seq > ? AND seq <= ? ORDER BY seq",
                (after, last),
            )
        ]

    async def more(self) -> None:
        """Wait until something may have come since `waiting` was asked."""
        await self._spoken.wait()

    async def delivered(self, up_to: int) -> None:
        """Forget the messages up to ``up_to``; their space is used again."""
        async with self._counting() as count, self._database.transaction() as connection:
            found = await connection.execute_fetchall(
                "SELECT COALESCE(SUM(size), 0) FROM outbox WHERE seq <= ?", (up_to,)
            )
            await connection.execute("DELETE FROM outbox WHERE seq <= ?", (up_to,))
            count.change = -sum(size for (size,) in found)
        self._shrunk.set()

    @asynccontextmanager
    async def _counting(self) -> AsyncIterator[_Count]:
        """Keep account of the bytes. After a failure, or when it was cancelled while SQLite worked,
        nobody knows what was committed: then they are counted anew.
        """
        async with self._turn:
            held, self._bytes = self._bytes, None
            count = _Count()
            yield count
            self._bytes = None if held is None else held + count.change

    async def _size(self) -> int:
        async with self._turn:
            if self._bytes is None:
                ((size,),) = await self._database.rows("SELECT COALESCE(SUM(size), 0) FROM outbox")
                self._bytes = size
            return self._bytes
