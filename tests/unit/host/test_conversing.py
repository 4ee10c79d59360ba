from __future__ import annotations

import asyncio
import sys

import pytest

from tachikoma.host import process
from tachikoma.host.clock import SystemClock, attempts
from tachikoma.host.conversing import converse
from tachikoma.model.errors import MissingToolError

pytestmark = pytest.mark.live

ECHO = "import sys, os; print(os.getpid()); sys.stdout.flush(); sys.stdout.writelines(sys.stdin)"


async def gone(pid: int) -> bool:
    async for _ in attempts(SystemClock(), deadline_s=5, most_s=0.05):
        if process.start_time(pid) is None:
            return True
    return False


async def test_a_child_hears_and_answers_and_ends_with_the_block() -> None:
    async with converse([sys.executable, "-c", f"{ECHO}; sys.stdout.flush()"]) as talk:
        pid = int(await talk.reader.readline())
        talk.writer.write(b"one\n")
        talk.writer.write_eof()
        assert await talk.reader.read() == b"one\n"
    assert await gone(pid)


async def test_a_child_that_does_not_want_to_end_is_ended() -> None:
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True)"
    argv = [sys.executable, "-c", f"import os; print(os.getpid()); {code}; time.sleep(60)"]
    async with converse(argv) as talk:
        pid = int(await talk.reader.readline())
        await talk.reader.readline()
    assert await gone(pid)


async def test_who_writes_waits_for_a_child_that_does_not_listen() -> None:
    async with converse(["sleep", "60"]) as talk:
        talk.writer.write(b"x" * 10_000_000)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(talk.writer.drain(), 0.2)


async def test_its_last_words_are_kept_without_credentials() -> None:
    async with converse(["sh", "-c", "echo long ago >&2; echo x-api-key: abc >&2"]) as talk:
        assert await talk.reader.read() == b""
        assert await talk.last_words() == "long ago\nx-api-key: [redacted]"


async def test_a_program_that_is_not_there_is_missing() -> None:
    with pytest.raises(MissingToolError):
        async with converse(["no-such-program"]):
            pass
