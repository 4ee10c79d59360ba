from __future__ import annotations

import asyncio
import sqlite3
import stat
from contextlib import AsyncExitStack, closing
from pathlib import Path

import pytest

from tachikoma.makima.database import looked_at, opened
from tachikoma.makima.schema import APPLICATION, LEAP, VERSION
from tachikoma.model.errors import DiskFullError, PermissionDeniedError, TachikomaError
from tachikoma.model.errors_fleet import PERMANENT, BookError, BookTooNewError

BIRTH = {"machine_id": "m"}
SAY = "INSERT INTO outbox (size, text) VALUES (1, ?)"
HEARD = "SELECT text FROM outbox ORDER BY seq"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def written(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


async def fails(path: Path) -> TachikomaError:
    with pytest.raises(TachikomaError) as caught:
        async with opened(path, birth=BIRTH):
            pass
    return caught.value


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "makima" / "daemon.db"


async def test_only_the_user_can_look_into_it(path: Path) -> None:
    async with opened(path, birth=BIRTH) as database:
        async with database.transaction() as connection:
            await connection.execute(SAY, ("a",))
        assert mode(path.parent) == 0o700
        files = sorted(path.parent.iterdir())
        assert [each.name.removeprefix("daemon.db") for each in files] == [
            *("", "-shm", "-wal", ".lock")
        ]
        assert {mode(each) for each in files} == {0o600}


async def test_a_file_that_others_could_read_is_made_private(path: Path) -> None:
    path.parent.mkdir(mode=0o755)
    path.touch(mode=0o644)
    async with opened(path, birth=BIRTH):
        assert mode(path) == 0o600
        assert mode(path.parent) == 0o755, "a directory that was there before is not ours"


async def test_birth_is_written_once(path: Path) -> None:
    for value in ("first", "second"):
        async with opened(path, birth={"machine_id": value}) as database:
            assert await database.rows("SELECT value FROM book") == [("first",)]


async def test_every_opening_leaves_a_gap_before_the_next_number(path: Path) -> None:
    for times in (1, 2):
        async with opened(path, birth=BIRTH) as database:
            assert await database.rows("SELECT seq FROM sqlite_sequence") == [(times * LEAP,)]


async def test_a_transaction_that_fails_leaves_nothing_and_the_next_one_goes_through(
    path: Path,
) -> None:
    async def broken() -> None:
        async with database.transaction() as connection:
            await connection.execute(SAY, ("lost",))
            raise RuntimeError("in the middle")

    async with opened(path, birth=BIRTH) as database:
        with pytest.raises(RuntimeError, match="in the middle"):
            await broken()
        async with database.transaction() as connection:
            await connection.execute(SAY, ("kept",))
        assert await database.rows(HEARD) == [("kept",)]


async def test_a_transaction_that_is_cancelled_leaves_nothing(path: Path) -> None:
    begun = asyncio.Event()

    async def half() -> None:
        async with database.transaction() as connection:
            await connection.execute(SAY, ("lost",))
            begun.set()
            await asyncio.Event().wait()

    async with opened(path, birth=BIRTH) as database:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(half())
            await begun.wait()
            assert await database.rows(HEARD) == [], "nobody sees what is not committed"
            task.cancel()
        async with database.transaction() as connection:
            await connection.execute(SAY, ("kept",))
        assert await database.rows(HEARD) == [("kept",)]


async def test_a_second_daemon_is_told_who_has_it(path: Path) -> None:
    async with opened(path, birth=BIRTH):
        error = await fails(path)
        assert isinstance(error, BookError)
        held = path.with_name("daemon.db.lock").read_text()
        assert error.message.endswith(f"is in use by another makima daemon (process {held})")
        assert f"kill {held}" in error.hint
    async with opened(path, birth=BIRTH):
        pass


async def test_others_read_while_a_daemon_has_it_and_after(path: Path) -> None:
    async with opened(path, birth=BIRTH) as database:
        async with database.transaction() as connection:
            await connection.execute(SAY, ("a",))
        async with looked_at(path) as reader:
            assert await reader.rows(HEARD) == [("a",)]
    async with looked_at(path) as reader:
        assert await reader.rows(HEARD) == [("a",)]
        with pytest.raises(PermissionDeniedError, match="readonly"):
            await reader.rows("DELETE FROM outbox")


async def test_where_no_daemon_was_there_is_nothing_to_read(path: Path) -> None:
    with pytest.raises(BookError, match="no makima daemon has kept tasks there"):
        async with looked_at(path):
            pass
    assert not path.parent.exists()


async def test_a_book_of_tomorrow_is_refused_by_all_and_left_as_it_is(path: Path) -> None:
    async with opened(path, birth=BIRTH):
        pass
    await asyncio.to_thread(written, path, f"PRAGMA user_version = {VERSION + 1}")
    before = path.read_bytes()
    error = await fails(path)
    assert isinstance(error, BookTooNewError)
    assert error.exit_status == PERMANENT
    with pytest.raises(BookTooNewError):
        async with looked_at(path):
            pass
    assert path.read_bytes() == before


async def test_the_database_of_another_program_is_left_as_it_is(path: Path) -> None:
    path.parent.mkdir()
    await asyncio.to_thread(written, path, "CREATE TABLE tasks (id)")
    before = path.read_bytes()
    assert "of another program" in (await fails(path)).message
    assert path.read_bytes() == before


@pytest.mark.parametrize("damage", [b"no database at all, " * 50, b"SQLite format 3\0" * 80])
async def test_a_damaged_file_is_left_as_it_is(path: Path, damage: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(damage)
    error = await fails(path)
    assert isinstance(error, BookError)
    assert "is damaged" in error.message
    assert path.read_bytes() == damage


async def test_damage_in_the_middle_is_told_when_it_is_met(path: Path) -> None:
    async with opened(path, birth=BIRTH) as database, database.transaction() as connection:
        await connection.executemany(SAY, [("x" * 20_000,)] * 20)
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 4 :] = bytes(len(whole) - len(whole) // 4)
    path.write_bytes(whole)
    with pytest.raises(BookError, match="is damaged"):
        async with opened(path, birth=BIRTH) as database:
            await database.rows(HEARD)


async def test_a_full_disk_is_told_and_what_was_there_is_kept(path: Path) -> None:
    async with opened(path, birth=BIRTH) as database:
        async with database.transaction() as connection:
            await connection.execute(SAY, ("kept",))
            await connection.execute("PRAGMA max_page_count = 20")
        with pytest.raises(DiskFullError, match="no space is left"):
            async with database.transaction() as connection:
                await connection.execute(SAY, ("x" * 1_000_000,))
        assert await database.rows(HEARD) == [("kept",)]
        async with database.transaction() as connection:
            await connection.execute(SAY, ("small",))
        assert await database.rows(HEARD) == [("kept",), ("small",)]


async def test_space_that_a_backlog_took_is_given_back_at_the_next_opening(path: Path) -> None:
    async with opened(path, birth=BIRTH) as database:
        async with database.transaction() as connection:
            await connection.executemany(SAY, [("x" * 1_000_000,)] * 36)
        async with database.transaction() as connection:
            await connection.execute("DELETE FROM outbox")
    assert path.stat().st_size > 36_000_000
    async with opened(path, birth=BIRTH):
        pass
    assert path.stat().st_size < 1_000_000


async def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    error = await fails(tmp_path / "file" / "daemon.db")
    assert error.message.endswith(f"{tmp_path}/file is no directory")
    error = await fails(tmp_path)
    assert error.message.endswith(f"{tmp_path} is a directory")
    assert not tmp_path.with_name(f"{tmp_path.name}.lock").exists()


async def test_it_can_be_told_from_other_databases(path: Path) -> None:
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(opened(path, birth=BIRTH))
        assert await database.rows("PRAGMA application_id") == [(APPLICATION,)]
        assert await database.rows("PRAGMA journal_mode") == [("wal",)]
