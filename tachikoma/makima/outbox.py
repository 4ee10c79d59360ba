"""What the daemon has to say and its server may not have heard yet: in order, on disk, bounded."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import islice

from tachikoma.makima.database import Database
from tachikoma.makima.messages import Message
from tachikoma.makima.wire import encode

_FRESH_BYTES = 4 * 1024 * 1024
"""So much of what was said last is kept in memory too: a link that keeps up reads no file."""
_ROWS_AT_ONCE = 250
"""SQLite takes 999 values with a statement, wherever it was built."""
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
    """What a transaction changes: bytes, and the messages that are new."""

    change: int = 0
    rows: list[tuple[int, int, str]] = field(default_factory=list)


class Outbox:
    """The messages in ``database`` that are not delivered, ``most_bytes`` of them or a little more.

    Nothing is ever dropped and saying never waits: whoever makes output waits in `room` first.
    """

    def __init__(self, database: Database, *, newest: int, most_bytes: int) -> None:
        self._database = database
        self._given = self._said = newest
        self._most_bytes = most_bytes
        # All that was said after `_stale` and is not delivered; what is older is in the file only.
        self._fresh: deque[tuple[Stored, int]] = deque()
        self._fresh_bytes = 0
        self._stale = newest
        self._bytes: int | None = None
        self._turn = asyncio.Lock()
        self._spoken = asyncio.Event()
        self._shrunk = asyncio.Event()

    @property
    def said(self) -> int:
        """The ``seq`` of the last message that was said, or higher."""
        return self._said

    async def say(
        self,
        messages: Sequence[Message],
        *,
        change: tuple[str, Sequence[object]] | None = None,
        along: Sequence[tuple[str, Sequence[Sequence[object]]]] = (),
    ) -> None:
        """Append ``messages`` in the same transaction as ``change``, a statement and its values, or
        ``along``, statements in their order with many rows of values each.

        Raises:
            RuntimeError: there is no row for it to change; nothing is said.
        """
        texts = [encode(message) for message in messages]
        sizes = [len(text) if text.isascii() else len(text.encode()) for text in texts]
        async with self._counting() as count, self._database.transaction() as connection:
            # Numbered within the transaction: what is committed later has the higher number.
            count.rows = [
                (self._given + at, size, text)
                for at, (size, text) in enumerate(zip(sizes, texts, strict=True), 1)
            ]
            self._given += len(texts)
            # Handed over together: each turn of SQLite's thread costs more than the work.
            changes = [connection.execute(*change)] if change else []
            others = [connection.executemany(*each) for each in along]
            inserts = [connection.execute(*each) for each in _insertions(count.rows)]
            done = await asyncio.gather(*changes, *others, *inserts)
            if change and done[0].rowcount != 1:
                raise RuntimeError(f"nothing there to change: {change[0]}")
            count.change = sum(sizes)

    @property
    def full(self) -> bool:
        """Whether `room` would wait, as far as is known without asking SQLite."""
        return self._bytes is not None and self._bytes >= self._most_bytes

    async def room(self) -> None:
        """Wait while there is too much in it already."""
        while await self._size() >= self._most_bytes:
            self._shrunk.clear()
            await self._shrunk.wait()

    async def waiting(self, after: int, *, most_bytes: int) -> list[Stored]:
        """Give the oldest messages after ``after``: at least one if there is one, and together not
        much above ``most_bytes``.
        """
        if after >= self._stale:
            return self._of_fresh(after, most_bytes)
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

    async def more(self, since: int) -> None:
        """Wait until something was said after `said` was ``since``."""
        while self._said <= since:
            self._spoken.clear()
            await self._spoken.wait()

    async def delivered(self, up_to: int) -> None:
        """Forget the messages up to ``up_to``; their space is used again."""
        async with self._counting() as count, self._database.transaction() as connection:
            found, _ = await asyncio.gather(
                connection.execute_fetchall(
                    "SELECT COALESCE(SUM(size), 0) FROM outbox WHERE seq <= ?", (up_to,)
                ),
                connection.execute("DELETE FROM outbox WHERE seq <= ?", (up_to,)),
            )
            ((size,),) = found
            count.change = -size
        while self._fresh and self._fresh[0][0].seq <= up_to:
            self._fresh_bytes -= self._fresh.popleft()[1]
        self._shrunk.set()

    @asynccontextmanager
    async def _counting(self) -> AsyncIterator[_Count]:
        """Keep account of what is there. After a failure, or when it was cancelled while SQLite
        worked, nobody knows what was committed: then the file is asked.
        """
        async with self._turn:
            held, self._bytes = self._bytes, None
            count = _Count()
            try:
                yield count
            except BaseException:
                self._fresh.clear()
                self._fresh_bytes = 0
                self._stale = self._said = self._given
                self._spoken.set()
                raise
            self._bytes = None if held is None else held + count.change
            self._keep(count.rows)
            self._spoken.set()

    def _keep(self, rows: Sequence[tuple[int, int, str]]) -> None:
        """Have what was just committed at hand, and let go of what came long before it."""
        for seq, size, text in rows:
            self._said = seq
            self._fresh.append((Stored(seq, text), size))
            self._fresh_bytes += size
        while self._fresh_bytes > _FRESH_BYTES:
            stored, size = self._fresh.popleft()
            self._stale, self._fresh_bytes = stored.seq, self._fresh_bytes - size

    def _of_fresh(self, after: int, most_bytes: int) -> list[Stored]:
        found: list[Stored] = []
        first = bisect_right(self._fresh, after, key=lambda kept: kept[0].seq)
        for stored, size in islice(self._fresh, first, None):
            found.append(stored)
            most_bytes -= size
            if most_bytes <= 0:
                break
        return found

    async def _size(self) -> int:
        async with self._turn:
            if self._bytes is None:
                ((size,),) = await self._database.rows("SELECT COALESCE(SUM(size), 0) FROM outbox")
                self._bytes = size
            return self._bytes


def _insertions(rows: Sequence[tuple[int, int, str]]) -> Iterator[tuple[str, Sequence[object]]]:
    """Give the statements that append ``rows``, many at once: for each statement SQLite's thread
    has to get the interpreter back from ours, which may have much to do.
    """
    for at in range(0, len(rows), _ROWS_AT_ONCE):
        part = rows[at : at + _ROWS_AT_ONCE]
        places = ", ".join(["(?, ?, ?)"] * len(part))
        yield f"INSERT INTO outbox VALUES {places}", [value for row in part for value in row]  # noqa: S608 - constant words
