from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from tachikoma.host.clock import FakeClock
from tachikoma.makima.book import Book, BookReader
from tachikoma.makima.commands import SpawnTask
from tachikoma.makima.messages import TaskComplete, TaskOutput
from tachikoma.makima.outbox import Stored
from tachikoma.makima.record import Figures, Position, TaskRecord, TaskStatus
from tachikoma.makima.wire import decode, encode
from tachikoma.model.errors_fleet import BookError

PLENTY = 1 << 30


def order(plan: str = "Add a page.") -> SpawnTask:
    return SpawnTask(task_id=uuid4(), plan=plan, depth=0, is_orchestrator=False)


def output(task: UUID, text: str) -> TaskOutput:
    return TaskOutput(task_id=task, output=text, is_partial=False)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "daemon.db"


@pytest.fixture
async def book(path: Path) -> AsyncIterator[Book]:
    async with Book.at(path, clock=FakeClock(5.0)) as made:
        yield made


async def test_tasks_are_admitted_in_the_order_of_their_arrival(book: Book) -> None:
    orders = [order(f"{number}") for number in range(3)]
    admitted = [await book.admit(each) for each in orders]
    assert admitted == [
        TaskRecord(order=each, arrival=number, status=TaskStatus.PENDING, created=5.0)
        for number, each in enumerate(orders, 1)
    ]
    assert await book.tasks() == admitted


async def test_a_task_that_is_in_the_book_is_not_admitted_again(book: Book) -> None:
    first = order()
    record = await book.admit(first)
    assert record is not None
    await book.write(replace(record, status=TaskStatus.DONE))
    assert await book.admit(first.model_copy(update={"plan": "Another."})) is None
    assert await book.task(first.task_id) == replace(record, status=TaskStatus.DONE)


async def test_a_task_that_is_not_in_the_book_is_none(book: Book) -> None:
    assert await book.task(uuid4()) is None


async def test_a_record_is_kept_together_with_what_is_said_of_it(book: Book) -> None:
    record = await book.admit(order())
    assert record is not None
    then = replace(
        record,
        status=TaskStatus.RUNNING,
        position=Position(7, 1),
        figures=Figures(turns=2, cost_usd=0.5),
    )
    said = [output(record.id, "one\n"), output(record.id, "two\n")]
    await book.write(then, say=said)
    assert await book.task(record.id) == then
    waiting = await book.waiting(0, most_bytes=PLENTY)
    assert [each.text for each in waiting] == [encode(each) for each in said]


async def test_a_record_that_was_never_admitted_is_a_bug_and_says_nothing(book: Book) -> None:
    stranger = TaskRecord(order=order(), arrival=1, status=TaskStatus.PENDING, created=0.0)
    with pytest.raises(RuntimeError, match="nothing there to change"):
        await book.write(stranger, say=[output(stranger.id, "lost")])
    assert await book.waiting(0, most_bytes=PLENTY) == []


async def test_all_of_it_is_there_after_it_was_closed(path: Path) -> None:
    async with Book.at(path, clock=FakeClock()) as book:
        machine = book.machine_id
        record = await book.admit(order())
        assert record is not None
        await book.say([TaskComplete(task_id=record.id, success=True)])
        (said,) = await book.waiting(0, most_bytes=PLENTY)
    async with Book.at(path, clock=FakeClock()) as book:
        assert book.machine_id == machine
        assert await book.tasks() == [record]
        assert await book.waiting(0, most_bytes=PLENTY) == [said]
        await book.say([output(record.id, "later")])
        (later,) = await book.waiting(said.seq, most_bytes=PLENTY)
        assert later.seq == book.said > said.seq


async def test_a_new_file_is_a_new_machine(tmp_path: Path) -> None:
    ids = set()
    for name in ("a", "b"):
        async with Book.at(tmp_path / name, clock=FakeClock()) as book:
            ids.add(str(UUID(book.machine_id)))
    assert len(ids) == 2


async def test_others_see_the_tasks_while_a_daemon_has_them(path: Path, book: Book) -> None:
    record = await book.admit(order())
    assert record is not None
    await book.say([output(record.id, "a")])
    async with BookReader.at(path) as reader:
        assert reader.machine_id == book.machine_id
        assert await reader.tasks() == [record]
        assert await reader.task(record.id) == record
        assert await reader.task(uuid4()) is None
        assert (await reader.unsent())[0] == 1


async def test_a_file_without_the_id_of_the_machine_is_damaged_not_a_new_machine(
    path: Path,
) -> None:
    async with (
        Book.at(path, clock=FakeClock()) as book,
        book._database.transaction() as connection,
    ):
        await connection.execute("DELETE FROM book")
    with pytest.raises(BookError, match="the id of this machine is missing"):
        async with Book.at(path, clock=FakeClock()):
            pass


async def test_a_task_that_cannot_be_read_is_damage(book: Book) -> None:
    record = await book.admit(order())
    assert record is not None
    async with book._database.transaction() as connection:
        await connection.execute("UPDATE tasks SET status = 'asleep'")
    with pytest.raises(BookError, match=f"damaged: task {record.id}"):
        await book.tasks()


WRITER = """
import asyncio, sys
from dataclasses import replace
from pathlib import Path
from uuid import uuid4
from tachikoma.host.clock import SystemClock
from tachikoma.makima.book import Book
from tachikoma.makima.commands import SpawnTask
from tachikoma.makima.messages import TaskOutput
from tachikoma.makima.record import Position

async def main():
    async with Book.at(Path(sys.argv[1]), clock=SystemClock()) as book:
        order = SpawnTask(task_id=uuid4(), plan="Go.", depth=0, is_orchestrator=False)
        record = await book.admit(order)
        for number in range(1_000_000):
            said = [TaskOutput(task_id=record.id, output=f"{number}.{part} " + "x" * 3000,
                is_partial=False) for part in range(3)]
            record = replace(record, position=Position(number + 1))
            await book.write(record, say=said)
            print(number, flush=True)

asyncio.run(main())
"""


@pytest.mark.live
@pytest.mark.parametrize("lines", [1, 40, 200])
async def test_what_was_written_is_there_after_the_writer_was_killed(
    path: Path, lines: int
) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WRITER, str(path), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    written = -1
    for _ in range(lines):
        written = int(await process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    rest = await process.stdout.read()
    written = int(rest.split()[-1]) if rest.split() else written
    await process.wait()
    async with Book.at(path, clock=FakeClock()) as book:
        (record,) = await book.tasks()
        texts = [each.text for each in await all_of(book)]
    said = [frame.output for text in texts if isinstance(frame := decode(text), TaskOutput)]
    whole = record.position.stdout
    assert whole in {written + 1, written + 2}, "what it was told is written, and no half"
    expected = [f"{number}.{part}" for number in range(whole) for part in range(3)]
    assert [text.split()[0] for text in said] == expected


async def all_of(book: Book) -> list[Stored]:
    found: list[Stored] = []
    while more := await book.waiting(found[-1].seq if found else 0, most_bytes=PLENTY):
        found += more
    return found
