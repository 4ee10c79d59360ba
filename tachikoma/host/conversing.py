"""Talking with a child process for as long as both want: requests in, answers out."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tachikoma.host import process, tasks

_LAST_BYTES = 4096
_LAST_WORDS_S = 1.0
_CHUNK = 1 << 16
_READ_AHEAD = 1 << 20
"""Bytes of a child's output that may wait for us; then the child waits."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """Both ends of a running child: what it says is read from ``reader``; what is written to
    ``writer`` reaches it, and ``drain`` waits while it does not listen.
    """

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    _said: bytearray
    _listening: asyncio.Task[None]

    async def last_words(self) -> str:
        """Give the end of what a child that falls silent said on standard error, without
        credentials.
        """
        await asyncio.wait({self._listening}, timeout=_LAST_WORDS_S)
        return process.redacted(self._said.decode("utf-8", "replace")).strip()


@contextlib.asynccontextmanager
async def converse(
    argv: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> AsyncIterator[Conversation]:
    """Start ``argv`` and talk with it; it ends with the block, by the ladder.

    There is no deadline: who talks knows how long an answer may take. ``env`` is added to the
    chosen environment of every child.

    Raises:
        MissingToolError: the program does not exist.
        HostError: it cannot be started.
    """
    child = await process.start(argv, env=env, cwd=cwd, read_ahead=_READ_AHEAD)
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stderr is not None
    said = bytearray()
    listening = tasks.spawn(_overhear(child.stderr, said), name=f"words of {argv[0]}")
    try:
        yield Conversation(child.stdout, child.stdin, said, listening)
    finally:
        child.stdin.close()
        if child.returncode is None:
            await tasks.to_the_end(process.end(child), name=f"end {argv[0]}")
        await tasks.end(listening)


async def _overhear(reader: asyncio.StreamReader, said: bytearray) -> None:
    while piece := await reader.read(_CHUNK):
        said += piece
        del said[:-_LAST_BYTES]
