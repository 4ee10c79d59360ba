"""A child that runs for as long as it likes while we listen to it, beside those of `process`.

It gets the environment that it is given, an empty standard input, and a process group of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tachikoma.host import environ, files, process
from tachikoma.model.vm import Stream

_REAP_S = 5.0
_LAST_WORDS_S = 0.5
"""How long the outputs of a dead child are read on: a child of its own may keep them open."""
_LONGEST_LINE = 1 << 16
_STREAMS: dict[int, Stream] = {1: "stdout", 2: "stderr"}


async def attend(
    argv: Sequence[str],
    *,
    on_start: Callable[[int], None],
    on_line: Callable[[Stream, str], None],
    grace_s: float,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> int:
    """Run ``argv``, hand every line of its outputs on, and give its exit status (-N for signal N).

    ``on_start`` is told its process id before anything else happens. Cancelling asks it to end:
    TERM to it alone, which knows what it has started and in which order that ends; after
    ``grace_s`` KILL to its whole group. What is left of its group when it has ended by itself is
    killed too. On Linux it also gets TERM when we die without a word.

    Raises:
        MissingToolError: the program does not exist.
        HostError: it cannot be started, or ``cwd`` is no directory.
    """
    transport, talk = await _start(argv, on_line, env=env, cwd=cwd)
    pid = transport.get_pid()
    assert pid is not None
    try:
        on_start(pid)
        await talk.ended.wait()
    except BaseException:
        await asyncio.shield(_ask_to_end(pid, talk, grace_s))
        raise
    finally:  # a second cancelling comes here at once: no more grace
        _kill_group(pid)
        await asyncio.shield(_last_words(talk))
        transport.close()
    status = transport.get_returncode()
    assert status is not None
    return status


def end_left_over(pid: int, *, started: str, grace_s: float) -> None:
    """End an attended child whose attendant died, with its group. Does nothing if it is gone.

    Blocks; an event loop calls it in a thread.
    """
    if process.start_time(pid) != started:
        return  # the id may be another process's by now, and so may its group
    process.end_process(pid, started=started, grace_s=grace_s)
    _kill_group(pid)


class _Talk(asyncio.SubprocessProtocol):
    """Cuts what the child says into lines, and knows when it has ended and when it is silent."""

    def __init__(self, on_line: Callable[[Stream, str], None]) -> None:
        self.ended = asyncio.Event()
        self.silent = asyncio.Event()
        self._on_line = on_line
        self._begun = dict.fromkeys(_STREAMS, b"")

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        *lines, rest = (self._begun[fd] + data).split(b"\n")
        if len(rest) > _LONGEST_LINE:
            lines, rest = [*lines, rest], b""
        self._begun[fd] = rest
        for line in lines:
            self._say(fd, line)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        del exc
        if rest := self._begun.pop(fd, b""):
            self._say(fd, rest)
        if not self._begun:
            self.silent.set()

    def process_exited(self) -> None:
        self.ended.set()

    def _say(self, fd: int, line: bytes) -> None:
        self._on_line(_STREAMS[fd], line.decode("utf-8", "replace").removesuffix("\r"))


async def _start(
    argv: Sequence[str],
    on_line: Callable[[Stream, str], None],
    *,
    env: Mapping[str, str] | None,
    cwd: Path | None,
) -> tuple[asyncio.SubprocessTransport, _Talk]:
    if process.which(argv[0]) is None:  # setpriv would say so in words of its own
        raise process.missing_tool(argv[0])
    try:
        return await asyncio.get_running_loop().subprocess_exec(
            functools.partial(_Talk, on_line),
            *_dying_with_us(),
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            env=environ.for_child(env),
            cwd=cwd,
            start_new_session=True,
        )
    except OSError as error:
        gone = cwd is not None and not cwd.is_dir()
        raise files.from_os_error(error, cwd if gone and cwd else Path(argv[0])) from error


def _dying_with_us() -> tuple[str, ...]:
    """Give what has the kernel send TERM to a child when we die (Linux, util-linux)."""
    setpriv = process.which("setpriv") if sys.platform == "linux" else None
    return (setpriv, "--pdeathsig", "TERM", "--") if setpriv else ()


async def _ask_to_end(pid: int, talk: _Talk, grace_s: float) -> None:
    for sent, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, _REAP_S)):
        if talk.ended.is_set():
            return
        if sent is signal.SIGKILL:
            _kill_group(pid)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, sent)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await talk.ended.wait()


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


async def _last_words(talk: _Talk) -> None:
    """Read on what a child that has ended, or is just being killed, said last.

    The end itself is waited for as well: asyncio loses the status of a child whose transport is
    closed in the moment in which it dies.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_REAP_S):
            await talk.ended.wait()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LAST_WORDS_S):
            await talk.silent.wait()
