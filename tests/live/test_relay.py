"""The relay as a process of its own, between a server and daemons that live through its death."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from bench.figure import free_port
from tachikoma.host.clock import SystemClock, attempts
from tachikoma.makima.commands import SendMessage
from tachikoma.makima.messages import TaskComplete, TaskOutput
from tests.doubles.makima_relay import KEY, LastingDaemon, lasting_daemon, order
from tests.doubles.makima_server import MakimaServer, Manners

pytestmark = [pytest.mark.live, pytest.mark.timeout(60)]

PROGRAM = str(Path(sys.executable).with_name("tachikoma"))
SERVER_KEY = "the-key-of-the-server"


@dataclass
class Process:
    """A relay that can be killed and started again on the same port and database."""

    home: Path
    server: str
    port: int = field(default_factory=free_port)
    running: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.home / "relay.log"

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws/daemon"

    async def start(self) -> None:
        environ = {
            "HOME": str(self.home),
            "PATH": os.environ["PATH"],
            "MAKIMA_SERVER_URL": self.server,
            "MAKIMA_API_KEY": SERVER_KEY,
            "MAKIMA_RELAY_DAEMON_KEYS": f"another-key,{KEY}",
        }
        with self.log.open("ab") as log:
            self.running = subprocess.Popen(
                [PROGRAM, "makima", "relay", "--port", str(self.port)],
                env=environ,
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        async for left in attempts(SystemClock(), deadline_s=20, most_s=0.1):
            assert left, self.log.read_text()
            assert self.running.poll() is None, self.log.read_text()
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.close()
                return

    def end(self, number: signal.Signals) -> int:
        assert self.running is not None
        self.running.send_signal(number)
        return self.running.wait(15)

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
            return json.load(answer)


@pytest.fixture
async def server() -> AsyncIterator[MakimaServer]:
    async with MakimaServer(manners=Manners(counts=True, api_key=SERVER_KEY)) as made:
        yield made


@asynccontextmanager
async def relay(home: Path, server: MakimaServer) -> AsyncIterator[Process]:
    made = Process(home, server.url)
    await made.start()
    try:
        yield made
    finally:
        assert made.running is not None
        made.running.kill()
        made.running.wait(10)


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    both = tmp_path / "relay", tmp_path / "daemons"
    for each in both:
        each.mkdir()
    return both


async def work(daemon: LastingDaemon, *, lines: int) -> None:
    """Answer each task with ``lines`` lines, some at a time, and its completion."""
    begun = 0
    while begun < 4:
        for command in (await daemon.got(begun + 1))[begun:]:
            begun += 1
            if command.type == "spawnTask":
                await _do(daemon, command.task_id, lines)


async def _do(daemon: LastingDaemon, task: UUID, lines: int) -> None:
    daemon.active.add(task)
    for start in range(0, lines, 20):
        await daemon.book.say(
            [
                TaskOutput(task_id=task, output=str(number), is_partial=False)
                for number in range(start, start + 20)
            ]
        )
        await asyncio.sleep(0.01)
    daemon.active.discard(task)
    await daemon.book.say([TaskComplete(task_id=task, success=True)])


async def test_killed_in_mid_traffic_with_the_server_away_for_a_time_nothing_is_lost_or_doubled(
    places: tuple[Path, Path], server: MakimaServer
) -> None:
    home, theirs = places
    tasks, lines = 8, 600
    async with (
        relay(home, server) as process,
        lasting_daemon(process.url, theirs, "a") as one,
        lasting_daemon(process.url, theirs, "b") as other,
        asyncio.TaskGroup() as group,
    ):
        upstream = await server.daemon()
        await asyncio.to_thread(until_connected, process, 2)
        for number in range(tasks):
            await upstream.send(order(number))
        await one.got(4)
        await other.got(4)
        for daemon in (one, other):
            group.create_task(work(daemon, lines=lines))
        await server.said("taskOutput", 300)
        process.end(signal.SIGKILL)
        await process.start()
        await server.said("taskOutput", 1200, deadline_s=20)
        server.manners.http_status = 503
        server.daemons[-1].cut()
        await asyncio.sleep(1.5)
        process.end(signal.SIGKILL)
        await process.start()
        server.manners.http_status = 0
        await server.said("taskComplete", tasks, deadline_s=30)
        for number in range(tasks):
            told = [each for each in server.frames if each.get("taskId") == str(UUID(int=number))]
            assert [each.get("output", each["type"]) for each in told] == [
                *[str(line) for line in range(lines)],
                "taskComplete",
            ]
        status = await asyncio.to_thread(process.get, "/status")
        assert status["totalTasksProcessed"] == tasks
        assert status["activeTasks"] == 0


def until_connected(process: Process, daemons: int) -> None:
    """Wait until so many daemons are connected."""
    for _ in range(200):
        if process.get("/status")["connectedDaemons"] == daemons:
            return
        signal.sigtimedwait([], 0.05)
    raise AssertionError("the daemons did not connect")


async def test_commands_to_a_daemon_arrive_once_and_in_order_though_the_relay_is_killed(
    places: tuple[Path, Path], server: MakimaServer
) -> None:
    home, theirs = places
    async with (
        relay(home, server) as process,
        lasting_daemon(process.url, theirs, "a") as daemon,
    ):
        upstream = await server.daemon()
        await upstream.send(order(1))
        await daemon.got(1)
        for number in range(100):
            await upstream.send(SendMessage(task_id=UUID(int=1), message=str(number)))
        await daemon.got(30)
        process.end(signal.SIGKILL)
        await process.start()
        upstream = await server.daemon(2, deadline_s=20)
        await upstream.send(SendMessage(task_id=UUID(int=1), message="the end"))
        async for left in attempts(SystemClock(), deadline_s=20, most_s=0.1):
            assert left, f"{len(daemon.done)} commands came"
            if getattr(daemon.done[-1], "message", "") == "the end":
                break
        told = [each.message for each in daemon.done if isinstance(each, SendMessage)]
        # What the relay had not written yet is the server's to send again.
        assert told == [*(str(number) for number in range(len(told) - 1)), "the end"]


async def test_told_to_stop_it_ends_well_and_its_database_and_log_hold_no_key(
    places: tuple[Path, Path], server: MakimaServer
) -> None:
    home, theirs = places
    async with (
        relay(home, server) as process,
        lasting_daemon(process.url, theirs, "a") as daemon,
    ):
        await (await server.daemon()).send(order(1))
        await daemon.got(1)
        assert process.end(signal.SIGTERM) == 0
        log = process.log.read_text()
        assert "the relay has stopped" in log
        for secret in (SERVER_KEY, KEY, "another-key"):
            assert secret not in log
            for file in (home / ".makima").iterdir():
                assert secret.encode() not in file.read_bytes()
        assert (home / ".makima" / "relay.db").stat().st_mode & 0o777 == 0o600


async def test_what_http_answers_is_what_the_openapi_document_promises(
    places: tuple[Path, Path], server: MakimaServer
) -> None:
    home, theirs = places
    async with (
        relay(home, server) as process,
        lasting_daemon(process.url, theirs, "a") as daemon,
    ):
        await (await server.daemon()).send(
            order(1),
        )
        await daemon.got(1)
        ran = await asyncio.to_thread(
            subprocess.run,
            [
                str(Path(sys.executable).with_name("schemathesis")),
                "run",
                f"http://127.0.0.1:{process.port}/openapi.json",
                "--max-examples=15",
                "--generation-database=none",
                "--seed=1",
            ],
            cwd=theirs,
            capture_output=True,
            timeout=50,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout.decode()[-4000:]
