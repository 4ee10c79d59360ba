"""What the agents of a task printed: in order, and the latest 64 MiB of it.

When a task has more, the oldest goes, some MiB at once, and how much went is told with every page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import aiosqlite

from tachikoma.makima.database import Database
from tachikoma.makima.server.entries import sound

MOST_BYTES = 64 * 1024 * 1024
_GOES_AT_ONCE = 8 * 1024 * 1024
PAGE_BYTES = 4 * 1024 * 1024
"""So much of it is handed out at once, or a little more."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A line that was printed, or a piece of one."""

    number: int
    at: float
    attempt: int
    partial: bool
    text: str


@dataclass(frozen=True, slots=True)
class Account:
    """What is kept of a task's output. ``next`` is the number of the next piece."""

    next: int = 1
    bytes: int = 0
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class Printed:
    """Something new."""

    at: float
    attempt: int
    partial: bool
    text: str


async def append(
    connection: aiosqlite.Connection,
    task: int,
    printed: Sequence[Printed],
    *,
    most_bytes: int = MOST_BYTES,
) -> None:
    """Add to the output of the task with that arrival, in its order."""
    account = await _account(connection, task)
    texts = [sound(each.text) for each in printed]
    sizes = [len(text.encode()) for text in texts]
    rows = [
        (task, account.next + at, each.at, each.attempt, int(each.partial), size, text)
        for at, (each, size, text) in enumerate(zip(printed, sizes, texts, strict=True))
    ]
    await connection.executemany("INSERT INTO output VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
    account = Account(account.next + len(rows), account.bytes + sum(sizes), account.dropped)
    if account.bytes > most_bytes:
        account = await _cut(connection, task, account, most_bytes)
    await connection.execute(
        "INSERT OR REPLACE INTO output_account VALUES (?, ?, ?, ?)",
        (task, account.next, account.bytes, account.dropped),
    )


async def _cut(
    connection: aiosqlite.Connection, task: int, account: Account, most_bytes: int
) -> Account:
    """Let the oldest go; the last piece stays, however long it is."""
    much = account.bytes - most_bytes + min(_GOES_AT_ONCE, most_bytes // 8)
    gone = last = 0
    async with connection.execute(
        "SELECT number, size FROM output WHERE task = ? AND number < ? ORDER BY number",
        (task, account.next - 1),
    ) as found:
        async for number, size in found:
            if gone >= much:
                break
            last, gone = number, gone + size
    await connection.execute("DELETE FROM output WHERE task = ? AND number <= ?", (task, last))
    return Account(account.next, account.bytes - gone, account.dropped + gone)


async def _account(connection: aiosqlite.Connection, task: int) -> Account:
    rows = list(
        await connection.execute_fetchall(
            "SELECT next, bytes, dropped FROM output_account WHERE task = ?", (task,)
        )
    )
    return Account(*rows[0]) if rows else Account()


async def account_of(database: Database, task: int) -> Account:
    """Say what is kept of a task's output."""
    rows = await database.rows(
        "SELECT next, bytes, dropped FROM output_account WHERE task = ?", (task,)
    )
    return Account(*rows[0]) if rows else Account()


async def pieces(database: Database, task: int, *, after: int, limit: int) -> list[Piece]:
    """Give the oldest pieces after ``after``: one at least if there is one, and not much more than
    ``PAGE_BYTES``.
    """
    sizes = await database.rows(
        "SELECT number, size FROM output WHERE task = ? AND number > ? ORDER BY number LIMIT ?",
        (task, after, limit),
    )
    last = total = 0
    for number, size in sizes:
        last, total = number, total + size
        if total >= PAGE_BYTES:
            break
    rows = await database.rows(
        "SELECT number, at, attempt, partial, text FROM output"
        " WHERE task = ? AND number > ? AND number <= ? ORDER BY number",
        (task, after, last),
    )
    return [
        Piece(number, at, attempt, bool(partial), text)
        for number, at, attempt, partial, text in rows
    ]


async def before_last(database: Database, task: int, count: int) -> int:
    """Give the number after which there are ``count`` pieces, or all if there are fewer."""
    rows = await database.rows(
        "SELECT number FROM output WHERE task = ? ORDER BY number DESC LIMIT 1 OFFSET ?",
        (task, count),
    )
    return rows[0][0] if rows else 0


async def unfinished(database: Database, task: int, attempt: int) -> list[str]:
    """Give the pieces of the line that an attempt has begun and not ended, in order."""
    found: list[str] = []
    after = 2**62
    while True:
        rows = await database.rows(
            "SELECT number, attempt, partial, text FROM output WHERE task = ? AND number < ?"
            " ORDER BY number DESC LIMIT 50",
            (task, after),
        )
        for number, of, partial, text in rows:
            if of != attempt or not partial:
                return found[::-1]
            found.append(text)
            after = number
        if not rows:
            return found[::-1]
