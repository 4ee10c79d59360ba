"""``python -m bench.pushing URL BOOK MEGABYTES``: a daemon's book and link, and four tasks that
print as fast as they are let.

Prints, as JSON, the seconds until the server had all of it for sure, and the most memory that this
process had. ``python -m bench.pushing --bare URL - MEGABYTES`` does the same with nothing but a
WebSocket, whose server echoes: until all of it has come back.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import aiohttp

from bench.loopback import most_resident_bytes
from tachikoma.host.clock import SystemClock, attempts
from tachikoma.makima.book import Book
from tachikoma.makima.commands import Command, SpawnTask
from tachikoma.makima.link import Link
from tachikoma.makima.messages import DaemonDirectories, TaskOutput
from tachikoma.makima.record import Position
from tachikoma.makima.session import Identity
from tachikoma.makima.settings import ServerSettings
from tachikoma.makima.wire import encode

TASKS = 4
FRAME_BYTES = 16 * 1024
_DEADLINE_S = 300.0
FRAMES_EACH_READ = 8
"""An agent's output is read in pieces; a piece is said in one transaction."""


def frame() -> TaskOutput:
    line = 'a line of what an agent prints, as "JSON" with its quotes, and so on and on\n'
    text = (line * (FRAME_BYTES // len(line) + 1))[:FRAME_BYTES]
    return TaskOutput(task_id=uuid4(), output=text, is_partial=False)


async def printed(book: Book, reads: int) -> None:
    """One task's output, from an agent that never rests."""
    order = SpawnTask(task_id=uuid4(), plan="Print.", depth=0, is_orchestrator=False)
    record = await book.admit(order)
    assert record is not None
    said = [frame()] * FRAMES_EACH_READ
    for read in range(reads):
        await book.room()
        record = replace(record, position=Position(read))
        await book.write(record, say=said)


async def nothing(_command: Command) -> None:
    """There is nothing to be done."""


async def through_the_daemon(url: str, file: Path, frames: int) -> float:
    clock = SystemClock()
    async with Book.at(file, clock=clock) as book:
        link = Link(
            settings=ServerSettings(url=url),
            book=book,
            clock=clock,
            identity=Identity(book.machine_id, "bench", TASKS),
            directories=DaemonDirectories(
                working_directory="", home_directory="", worktrees_directory=""
            ),
            perform=nothing,
            active=tuple,
        )
        async with asyncio.TaskGroup() as group:
            linked = group.create_task(link.run())
            began = time.monotonic()
            async with asyncio.TaskGroup() as printing:
                for _ in range(TASKS):
                    printing.create_task(printed(book, frames // TASKS // FRAMES_EACH_READ))
            async for _ in attempts(clock, deadline_s=_DEADLINE_S, first_s=0.005, most_s=0.01):
                if not await book.waiting(0, most_bytes=1):
                    break
            took = time.monotonic() - began
            linked.cancel()
    return took


async def bare(url: str, frames: int) -> float:
    text = encode(frame())
    async with aiohttp.ClientSession() as client, client.ws_connect(url) as channel:
        began = time.monotonic()

        async def back() -> None:
            for _ in range(frames):
                await channel.receive()

        async with asyncio.TaskGroup() as group:
            group.create_task(back())
            for _ in range(frames):
                await channel.send_str(text)
        return time.monotonic() - began


async def main(words: list[str]) -> None:
    alone, (url, file, megabytes) = words[0] == "--bare", words[-3:]
    frames = int(megabytes) * 1_000_000 // FRAME_BYTES
    frames -= frames % (TASKS * FRAMES_EACH_READ)
    took = await (bare(url, frames) if alone else through_the_daemon(url, Path(file), frames))
    told = {
        "seconds": took,
        "bytes": frames * FRAME_BYTES,
        "memory": most_resident_bytes(os.getpid()),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
