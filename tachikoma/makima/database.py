"""The file of the book: opened by one daemon, read by anybody; its errors are ours.

SQLite in WAL mode with ``synchronous=NORMAL``: a transaction that has ended survives the death of
the process. What was committed within the last moments may be gone after a power cut, the rest is
whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiosqlite

from tachikoma.host import files
from tachikoma.makima.schema import AT_OPENING, VERSION, NotOursError, TooNewError, migration
from tachikoma.model.errors import DiskFullError, PermissionDeniedError
from tachikoma.model.errors_fleet import BookError, BookTooNewError

_BUSY_S = 5.0
_PAGE_BYTES = 8 * 1024
_CACHE_KIB = 16 * 1024
_WAL_PAGES = 4096
"""When so many pages are in the write-ahead log, they are synced and moved to their places: seldom
enough that output is not held up by the disk at every turn.
"""
_SPARE_PAGES = 4096
"""So many free pages, and more than are in use, are given back when the book is opened."""
_LONGEST_PID = 32

# It logs every statement with its values, and some are keys.
logging.getLogger("aiosqlite").setLevel(logging.INFO)


class Database:
    """Two connections to ``path``: one that writes, one transaction at a time, and one that reads
    what has been committed.
    """

    def __init__(
        self, path: Path, *, writing: aiosqlite.Connection, reading: aiosqlite.Connection
    ) -> None:
        self._path = path
        self._writing = writing
        self._reading = reading
        self._turn = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[aiosqlite.Connection]:
        """Commit what the block does, all of it, or nothing if it fails or is cancelled. It begins
        with the first statement that changes something.

        Raises:
            DiskFullError: no space is left.
            BookError: the file is damaged or gone.
        """
        async with self._turn:
            with translated(self._path):
                try:
                    yield self._writing
                    await self._writing.commit()
                except BaseException:
                    # Does nothing if a commit that was cancelled here has gone through there.
                    await self._writing.rollback()
                    raise

    async def rows(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Give what ``query`` finds.

        Raises:
            BookError: the file is damaged or gone.
        """
        with translated(self._path):
            return [tuple(row) for row in await self._reading.execute_fetchall(query, values)]


@contextlib.asynccontextmanager
async def opened(path: Path, *, birth: Mapping[str, str]) -> AsyncIterator[Database]:
    """Hold the book at ``path`` as its only daemon; made if need be, and then ``birth`` is
    written into its table ``book``. The file, and its directory if that is made, are for their user
    only.

    Raises:
        BookError: another daemon holds it; it is damaged, or no book.
        BookTooNewError: a later tachikoma wrote it.
        HostError: the file cannot be made or opened.
    """
    with _held(path):
        _made(path)
        async with _connected(path, "rw") as writing:
            with translated(path):
                await _prepared(writing, birth)
            async with _connected(path, "rw") as reading:
                await reading.execute("PRAGMA query_only = ON")
                yield Database(path, writing=writing, reading=reading)


@contextlib.asynccontextmanager
async def looked_at(path: Path) -> AsyncIterator[Database]:
    """Open the book at ``path`` to read it, whether a daemon holds it or not.

    Raises:
        BookError: there is none; it is damaged, or no book; it is of an earlier version.
        BookTooNewError: a later tachikoma wrote it.
    """
    if not path.exists():
        raise BookError(
            f"there is no {path}: no makima daemon has kept tasks there",
            hint="start one with `makima-daemon`, or set local_db.path to where it keeps them",
        )
    async with _connected(path, "rw") as reading:
        with translated(path):
            await reading.execute("PRAGMA query_only = ON")
            if await _migration(reading):
                raise BookError(
                    f"{path} is not of version {VERSION} yet",
                    hint="start the daemon once: it brings its database up to date",
                )
        yield Database(path, writing=reading, reading=reading)


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn what SQLite says about ``path`` into ours."""
    try:
        yield
    except TooNewError as error:
        raise BookTooNewError(
            f"{path} cannot be used: {error}",
            hint="update tachikoma, or set local_db.path to another file",
        ) from error
    except NotOursError as error:
        raise BookError(
            f"{path} is no database of a makima daemon's: {error}",
            hint="set local_db.path to another file; this one was left as it is",
        ) from error
    except sqlite3.Error as error:
        raise _from_sqlite(error, path) from error


def _from_sqlite(
    error: sqlite3.Error, path: Path
) -> BookError | DiskFullError | PermissionDeniedError:
    match getattr(error, "sqlite_errorcode", 0) & 0xFF:
        case sqlite3.SQLITE_FULL:
            return DiskFullError(
                f"no space is left for the makima daemon's database {path}",
                hint="free some space on its disk; everything that was written before is kept",
            )
        case sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_CORRUPT:
            return BookError(
                f"the makima daemon's database {path} is damaged: {error}",
                hint=f"move it away with {path.name}-wal and {path.name}-shm, and start the daemon"
                " anew; `sqlite3 FILE .recover` gets out of it what is still readable",
            )
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return PermissionDeniedError(
                f"{path}: {error}", hint="check the owner and mode of the file and its directory"
            )
        case _:
            return BookError(
                f"the makima daemon's database {path} cannot be used: {error}",
                hint="check that its disk is local and healthy, then start the daemon anew",
            )


@contextlib.contextmanager
def _held(path: Path) -> Iterator[None]:
    """Hold the lock beside ``path``, a file that says who holds it; it goes with the process."""
    lock = path.with_name(f"{path.name}.lock")
    if path.is_dir() or (os.path.lexists(path.parent) and not path.parent.is_dir()):
        what = f"{path} is a directory" if path.is_dir() else f"{path.parent} is no directory"
        raise BookError(
            f"the makima daemon's database cannot be made: {what}",
            hint="set local_db.path to a file of its own",
        )
    with files.translated(lock):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        if not files.try_lock(descriptor):
            raise _busy(path, os.pread(descriptor, _LONGEST_PID, 0))
        with contextlib.suppress(OSError):  # a full disk: the lock holds without a name
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode("ascii"), 0)
        yield
    finally:
        os.close(descriptor)


def _busy(path: Path, said: bytes) -> BookError:
    pid = said.decode("ascii", "replace") if said.isdigit() else ""
    return BookError(
        f"{path} is in use by another makima daemon" + (f" (process {pid})" if pid else ""),
        hint=(f"stop it with `kill {pid}`" if pid else "stop it")
        + ", or give this one a database of its own (local_db.path)",
    )


def _made(path: Path) -> None:
    """See to it that the file is there, for its user only; SQLite's other files take after it."""
    with files.translated(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(descriptor).st_mode & 0o077:
                os.fchmod(descriptor, 0o600)
        finally:
            os.close(descriptor)


@contextlib.asynccontextmanager
async def _connected(path: Path, mode: str) -> AsyncIterator[aiosqlite.Connection]:
    connect = partial(aiosqlite.connect, isolation_level="IMMEDIATE", timeout=_BUSY_S, uri=True)
    with translated(path):
        connection = await connect(f"file:{quote(os.fsencode(path.absolute()))}?mode={mode}")
    try:
        with translated(path):
            await connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        yield connection
    finally:
        with translated(path):
            await connection.close()


async def _prepared(connection: aiosqlite.Connection, birth: Mapping[str, str]) -> None:
    await connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")  # heeded by an empty file
    statements = await _migration(connection)
    await connection.execute("PRAGMA journal_mode = WAL")
    await connection.execute(f"PRAGMA wal_autocheckpoint = {_WAL_PAGES}")
    await connection.execute(f"PRAGMA journal_size_limit = {_WAL_PAGES * _PAGE_BYTES}")
    await connection.execute("PRAGMA synchronous = FULL")
    await connection.execute("BEGIN IMMEDIATE")
    for statement in (*statements, *AT_OPENING):
        await connection.execute(statement)
    if statements:
        await connection.executemany("INSERT OR IGNORE INTO book VALUES (?, ?)", birth.items())
    await connection.commit()
    await connection.execute("PRAGMA synchronous = NORMAL")
    ((pages,),) = await connection.execute_fetchall("PRAGMA page_count")
    ((spare,),) = await connection.execute_fetchall("PRAGMA freelist_count")
    if spare > max(_SPARE_PAGES, pages - spare):
        await connection.execute("VACUUM")


async def _migration(connection: aiosqlite.Connection) -> list[str]:
    ((version,),) = await connection.execute_fetchall("PRAGMA user_version")
    ((application,),) = await connection.execute_fetchall("PRAGMA application_id")
    ((tables,),) = await connection.execute_fetchall("SELECT COUNT(*) FROM sqlite_schema")
    return list(migration(version, application, tables))
