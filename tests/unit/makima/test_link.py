from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import pytest

from tachikoma.host.clock import Clock, SystemClock, attempts
from tachikoma.makima import connection
from tachikoma.makima.book import Book
from tachikoma.makima.commands import Command, PauseTask, ResumeTask
from tachikoma.makima.link import Link, failure_of
from tachikoma.makima.messages import DaemonDirectories, TaskComplete, TaskOutput
from tachikoma.makima.session import Identity
from tachikoma.makima.settings import ServerSettings
from tachikoma.model.errors_fleet import (
    BookError,
    MakimaConfigError,
    MakimaError,
    RefusedError,
    UnreachableError,
)
from tests.doubles.makima_server import MakimaServer, Manners

TASK = UUID("550e8400-e29b-41d4-a716-446655440000")
PAUSE, RESUME = PauseTask(task_id=TASK), ResumeTask(task_id=TASK)
SETTINGS = ServerSettings(api_key="secret", heartbeat_interval_secs=30, reconnect_interval_secs=1)
DIRECTORIES = DaemonDirectories(
    working_directory="/work", home_directory="/home/ada", worktrees_directory="/worktrees"
)


class QuickClock(SystemClock):
    """A minute in 2.4 s."""

    RATE = 25.0

    def monotonic(self) -> float:
        return super().monotonic() * self.RATE

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds / self.RATE)


def output(text: str) -> TaskOutput:
    return TaskOutput(task_id=TASK, output=text, is_partial=False)


def lines(first: int, after: int) -> list[TaskOutput]:
    return [output(str(number)) for number in range(first, after)]


def outputs(frames: list[dict[str, Any]]) -> list[str]:
    return [frame["output"] for frame in frames if frame["type"] == "taskOutput"]


class Daemon:
    """A link with its book, and what it was asked to do."""

    def __init__(
        self,
        book: Book,
        url: str,
        settings: ServerSettings = SETTINGS,
        *,
        perform: Callable[[Command], Awaitable[None]] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.book = book
        self.done: list[Command] = []
        self.link = Link(
            settings=replace(settings, url=url),
            book=book,
            clock=clock or QuickClock(),
            identity=Identity(book.machine_id, "worker-1", 4),
            directories=DIRECTORIES,
            perform=perform or self.note,
            active=lambda: (TASK,),
        )

    async def note(self, command: Command) -> None:
        self.done.append(command)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self.link.run())
            yield task
            task.cancel()

    async def empty(self) -> None:
        async for left in attempts(SystemClock(), deadline_s=10, first_s=0.005):
            assert left, "all is delivered"
            if not await self.book.waiting(0, most_bytes=1):
                return


@pytest.fixture
async def server() -> AsyncIterator[MakimaServer]:
    async with MakimaServer() as made:
        yield made


@pytest.fixture
async def book(tmp_path: Path) -> AsyncIterator[Book]:
    async with Book.at(tmp_path / "daemon.db", clock=SystemClock()) as made:
        yield made


@pytest.fixture
def daemon(book: Book, server: MakimaServer) -> Daemon:
    return Daemon(book, server.url, SETTINGS)


@pytest.mark.live
async def test_frames_are_those_of_the_protocol_and_in_order(
    server: MakimaServer, daemon: Daemon
) -> None:
    await daemon.book.say(lines(0, 3))
    async with daemon.running():
        await server.said("taskOutput", 3)
        await daemon.book.say([TaskComplete(task_id=TASK, success=True)])
        await server.said("taskComplete")
        await server.said("heartbeat", 1)
        await daemon.empty()
    frames = [frame for frame in server.frames if frame["type"] != "heartbeat"]
    assert frames[0] == {
        "type": "authenticate",
        "apiKey": "secret",
        "machineId": daemon.book.machine_id,
        "hostname": "worker-1",
        "maxConcurrentTasks": 4,
    }
    assert [frame["type"] for frame in frames[1:]] == [
        *("daemonDirectories", "taskOutput", "taskOutput", "taskOutput", "taskComplete")
    ]
    assert outputs(frames) == ["0", "1", "2"]
    assert not any("seq" in frame for frame in server.frames)
    (beat, *_) = await server.said("heartbeat")
    assert beat == {"type": "heartbeat", "activeTasks": [str(TASK)]}


@pytest.mark.live
async def test_commands_are_performed_one_after_the_other(
    server: MakimaServer, book: Book, caplog: pytest.LogCaptureFixture
) -> None:
    done: list[Command] = []

    async def stumble(command: Command) -> None:
        done.append(command)
        if len(done) == 1:
            raise MakimaError("no such task", hint="look")
        if len(done) == 2:
            raise KeyError("a bug")

    async with Daemon(book, server.url, perform=stumble).running():
        peer = await server.daemon()
        for command in (PAUSE, RESUME, PAUSE):
            await peer.send(command)
        await until(lambda: len(done) == 3)
    assert done == [PAUSE, RESUME, PAUSE]
    assert len(server.daemons) == 1
    assert "pauseTask: no such task; look" in caplog.text
    assert "a fault of tachikoma's in performing resumeTask" in caplog.text
    assert "KeyError" in caplog.text, "with its traceback"


@pytest.mark.live
async def test_a_ping_is_answered_when_the_commands_before_it_have_been_performed(
    server: MakimaServer, book: Book
) -> None:
    begun, may_end = asyncio.Event(), asyncio.Event()

    async def slow(_: Command) -> None:
        begun.set()
        await may_end.wait()

    async with Daemon(book, server.url, perform=slow).running():
        peer = await server.daemon()
        await peer.send(PAUSE)
        await peer.channel.ping(b"kept?")
        await begun.wait()
        await SystemClock().sleep(0.05)
        assert peer.pongs == []
        may_end.set()
        await until(lambda: peer.pongs == [b"kept?"])


@pytest.mark.live
async def test_no_bad_frame_ends_a_connection(
    server: MakimaServer, daemon: Daemon, caplog: pytest.LogCaptureFixture
) -> None:
    async with daemon.running():
        peer = await server.daemon()
        for bad in ("", "{", '{"type":"dance"}', '{"type":"pauseTask"}', b"\0\1", b""):
            await peer.send(bad)
        await peer.send_broken_text(b'{"type":"\xff"}')
        await peer.send('{"type":"pauseTask","x":"' + "y" * 17_000_000 + '"}')
        await peer.send(PAUSE)
        await until(lambda: daemon.done)
    assert daemon.done == [PAUSE]
    assert len(server.daemons) == 1
    assert caplog.text.count("a frame was dropped") == 8


@pytest.mark.live
async def test_nothing_is_lost_when_the_connection_is_cut_again_and_again(
    server: MakimaServer, daemon: Daemon
) -> None:
    async with daemon.running():
        for round_ in range(6):
            await server.daemon(round_ + 1)
            await daemon.book.say(lines(100 * round_, 100 * round_ + 100))
            await server.until(lambda: str(100 * round_ + 7) in outputs(server.frames))  # noqa: B023 - awaited here
            server.daemons[-1].cut()
        await server.until(lambda: "599" in outputs(server.frames))
        await daemon.empty()
    seen = outputs(server.frames)
    assert list(dict.fromkeys(seen)) == [str(number) for number in range(600)]
    for peer in server.daemons:
        own = [int(text) for text in outputs(peer.frames)]
        assert own == list(range(own[0], own[0] + len(own))), "in order, without a hole"


@pytest.mark.live
async def test_a_server_that_counts_gets_nothing_twice(
    server: MakimaServer, daemon: Daemon
) -> None:
    server.manners.counts = True
    server.manners.pongs = False
    await daemon.book.say(lines(0, 50))
    async with daemon.running():
        await server.said("taskOutput", 50)
        server.daemons[0].cut()
        await server.daemon(2)
        server.manners.pongs = True
        await daemon.book.say(lines(50, 60))
        await server.said("taskOutput", 60)
        await daemon.empty()
    assert outputs(server.daemons[0].frames) == [str(number) for number in range(50)]
    assert outputs(server.daemons[1].frames) == [str(number) for number in range(50, 60)]
    seqs = [frame["seq"] for frame in server.frames if frame["type"] == "taskOutput"]
    assert seqs == sorted(set(seqs))
    assert server.last == {daemon.book.machine_id: seqs[-1]}
    assert not any("seq" in frame for frame in server.frames if frame["type"] == "heartbeat")


@pytest.mark.live
async def test_a_server_that_has_more_than_was_ever_said_is_no_reason_to_forget(
    server: MakimaServer, daemon: Daemon, caplog: pytest.LogCaptureFixture
) -> None:
    server.manners.counts = True
    server.last[daemon.book.machine_id] = daemon.book.said + 1000
    await daemon.book.say(lines(0, 3))
    async with daemon.running():
        await server.said("taskOutput", 3)
    assert "its numbers are passed over" in caplog.text


@pytest.mark.live
async def test_what_the_server_did_not_answer_for_is_kept(
    server: MakimaServer, daemon: Daemon
) -> None:
    server.manners.pongs = False
    await daemon.book.say(lines(0, 3))
    async with daemon.running():
        await server.said("taskOutput", 3)
        kept = await daemon.book.waiting(0, most_bytes=1 << 20)
        assert len(kept) == 3


@pytest.mark.live
async def test_little_is_on_its_way_unanswered(server: MakimaServer, daemon: Daemon) -> None:
    server.manners.pongs = False
    big = "x" * 60_000
    await daemon.book.say([output(big) for _ in range(60)])
    async with daemon.running():
        await server.said("taskOutput", 15)
        await server.said("heartbeat", 1)
    sent = sum(len(text) for text in outputs(server.frames))
    assert sent <= connection.BATCHES * (connection.BATCH_BYTES + len(big))


@pytest.mark.live
async def test_a_server_that_reads_no_more_is_left_within_two_heartbeats(
    server: MakimaServer, daemon: Daemon, caplog: pytest.LogCaptureFixture
) -> None:
    async with daemon.running():
        await server.daemon(1)
        server.manners.reads = False
        await daemon.book.say([output("x" * 1_000_000) for _ in range(12)])
        began = daemon.link._clock.monotonic()
        await server.until(lambda: server.upgrades == 2)
        took = daemon.link._clock.monotonic() - began
        server.manners.reads = True
        await server.changed()
        await server.until(lambda: len(set_of_numbers(server)) >= 12)
        await daemon.empty()
    assert took < 3 * SETTINGS.heartbeat_interval_secs
    assert "nothing was heard for" in caplog.text


def set_of_numbers(server: MakimaServer) -> list[str]:
    return outputs(server.daemons[-1].frames)


@pytest.mark.live
async def test_a_server_that_says_nothing_is_left_and_tried_again(
    server: MakimaServer, daemon: Daemon, caplog: pytest.LogCaptureFixture
) -> None:
    server.manners.silent = True
    async with daemon.running():
        await server.until(lambda: server.upgrades == 2)
    assert "did not answer `authenticate` within 20 s" in caplog.text


@pytest.mark.live
async def test_leaving_says_what_is_left_and_closes_in_good_order(
    server: MakimaServer, book: Book
) -> None:
    daemon = Daemon(book, server.url, clock=SystemClock())
    async with daemon.running() as task:
        await server.daemon()
        await daemon.book.say([output("x" * 50_000) for _ in range(40)])
        task.cancel()
        await asyncio.wait({task})
        peer = await server.over(1)
        assert peer.close_code == 1000
        assert len(outputs(server.frames)) == 40
        assert await daemon.book.waiting(0, most_bytes=1) == []
        assert task.cancelled()


@pytest.mark.live
async def test_leaving_a_server_that_reads_no_more_takes_only_so_long(
    server: MakimaServer, daemon: Daemon
) -> None:
    async with daemon.running() as task:
        await server.daemon()
        server.manners.reads = False
        await daemon.book.say([output("x" * 1_000_000) for _ in range(12)])
        task.cancel()
        async with asyncio.timeout(5):
            await asyncio.wait({task})
        assert len(await daemon.book.waiting(0, most_bytes=1 << 30)) >= 8


@pytest.mark.live
async def test_a_book_that_cannot_be_read_ends_it(server: MakimaServer, daemon: Daemon) -> None:
    async with daemon.book._database.transaction() as connection:
        await connection.execute("DROP TABLE outbox")
    with pytest.raises(BookError, match="no such table"):
        await daemon.link.run()
    assert len(server.daemons) == 1


@pytest.mark.live
async def test_a_refusal_is_for_good(server: MakimaServer, daemon: Daemon) -> None:
    server.manners.api_key = "another"
    with pytest.raises(RefusedError, match="not today"):
        await daemon.link.run()
    assert server.upgrades == 1


@pytest.mark.live
@pytest.mark.parametrize("status", [401, 403])
async def test_a_door_that_is_shut_is_for_good(
    server: MakimaServer, daemon: Daemon, status: int
) -> None:
    server.manners.http_status = status
    with pytest.raises(RefusedError, match=f"HTTP {status}"):
        await daemon.link.run()


@pytest.mark.live
@pytest.mark.parametrize(
    ("manners", "why"),
    [
        (Manners(http_status=404), "it answers HTTP 404"),
        (Manners(http_status=503), "it answers HTTP 503"),
        (Manners(http_status=200), "it answers HTTP 200"),
        (Manners(error_code="server_busy"), "lets no daemon in for now"),
    ],
)
async def test_what_may_pass_is_tried_again_as_often_as_is_allowed(
    server: MakimaServer, book: Book, manners: Manners, why: str
) -> None:
    server.manners = manners
    daemon = Daemon(book, server.url, replace(SETTINGS, max_reconnect_attempts=2))
    with pytest.raises(UnreachableError, match=why):
        await daemon.link.run()
    assert server.upgrades == 3


@pytest.mark.live
async def test_a_server_that_is_not_there_yet_is_waited_for(
    book: Book, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    daemon = Daemon(book, f"ws://127.0.0.1:{port}/ws/daemon", SETTINGS)
    await book.say(lines(0, 1))
    async with daemon.running():
        await until(lambda: "connection refused" in caplog.text)
        async with MakimaServer(port=port) as server:
            await server.said("taskOutput")


@pytest.mark.parametrize("url", ["", "makima.example", "ftp://makima.example/ws", "ws://"])
async def test_what_is_no_url_is_for_good(book: Book, url: str) -> None:
    with pytest.raises(MakimaConfigError, match="no URL of a server"):
        await Daemon(book, url, SETTINGS).link.run()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (TimeoutError(), "no answer within 20 s"),
        (ConnectionResetError("reset"), "reset"),
        (aiohttp.ClientPayloadError(), "ClientPayloadError"),
    ],
)
def test_every_failure_has_words_and_says_what_helps(error: Exception, words: str) -> None:
    failure = failure_of(error)
    assert failure.reason == words
    assert failure.hint
    assert failure.status is None


async def until(true: Callable[[], object]) -> None:
    async for left in attempts(SystemClock(), deadline_s=10, first_s=0.005):
        assert left, "it never came to that"
        if true():
            return


@pytest.fixture(autouse=True)
def told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
