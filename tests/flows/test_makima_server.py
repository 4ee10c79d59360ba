"""The scripted server as a program: a real link speaks with it, and it is told what to do."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import aiohttp
import pytest

from tachikoma.host.clock import SystemClock, attempts
from tachikoma.makima.book import Book
from tachikoma.makima.commands import Command, PauseTask
from tachikoma.makima.link import Link
from tachikoma.makima.messages import DaemonDirectories, TaskComplete
from tachikoma.makima.session import Identity
from tachikoma.makima.settings import ServerSettings
from tachikoma.makima.wire import encode

pytestmark = pytest.mark.live

TASK = UUID("550e8400-e29b-41d4-a716-446655440000")
DIRECTORIES = DaemonDirectories(
    working_directory="/work", home_directory="/home/ada", worktrees_directory="/worktrees"
)


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    argv = ["-m", "tests.doubles.makima_server", "--log", str(tmp_path / "log"), "--key", "k"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *argv, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    yield (await process.stdout.readline()).decode().strip()
    process.send_signal(signal.SIGINT)
    assert await process.wait() == 0


async def test_it_lets_a_daemon_in_sends_what_it_is_told_and_writes_down_what_it_heard(
    url: str, tmp_path: Path
) -> None:
    done: asyncio.Queue[Command] = asyncio.Queue()
    control = url.replace("ws://", "http://").replace("/ws/daemon", "/control")
    async with (
        Book.at(tmp_path / "daemon.db", clock=SystemClock()) as book,
        aiohttp.ClientSession() as client,
        asyncio.TaskGroup() as group,
    ):
        link = Link(
            settings=ServerSettings(url=url, api_key="k"),
            book=book,
            clock=SystemClock(),
            identity=Identity("m", "h", 1),
            directories=DIRECTORIES,
            perform=done.put,
            active=tuple,
        )
        running = group.create_task(link.run())
        async for left in attempts(SystemClock(), deadline_s=10):
            assert left, "no daemon was let in"
            async with client.get(control) as answer:
                if any(each["let_in"] for each in (await answer.json())["connections"]):
                    break
        async with client.post(f"{control}/manners", data='{"counts": true}') as answer:
            assert answer.status == 204
        async with client.post(f"{control}/send", data=encode(PauseTask(task_id=TASK))) as answer:
            assert answer.status == 204
        assert await done.get() == PauseTask(task_id=TASK)
        await book.say([TaskComplete(task_id=TASK, success=True)])
        running.cancel()
        await asyncio.wait({running})
        async with client.post(f"{control}/cut") as answer:
            assert answer.status == 409
    heard = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [(each["connection"], each["frame"]["type"]) for each in heard] == [
        (1, "authenticate"),
        (1, "daemonDirectories"),
        (1, "taskComplete"),
    ]
