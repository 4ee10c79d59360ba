"""A stand-in for the QEMU guest agent: speaks its protocol on a socket, runs only what is told."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DELIMITER = b"\xff"
_LEAVE_S = 5.0


@dataclass
class Process:
    """A command of the guest: what it has said by each question after it, and how it ends.

    It ends when all its output is out; with ``ends`` False it runs until it is killed.
    """

    stdout: list[bytes] = field(default_factory=list)
    stderr: list[bytes] = field(default_factory=list)
    ended: dict[str, Any] = field(default_factory=lambda: {"exitcode": 0})
    ends: bool = True
    asked: int = 0
    killed: bool = False

    def said(self, pieces: list[bytes]) -> bytes:
        return b"".join(pieces[: self.asked + 1])

    @property
    def done(self) -> bool:
        over = self.asked >= max(len(self.stdout), len(self.stderr), 1) - 1
        return self.killed or (self.ends and over)


class GuestAgent:
    """``process`` is what the next command will be; ``heard`` is all that was asked."""

    def __init__(self) -> None:
        self.process = Process()
        self.heard: list[tuple[str, dict[str, Any]]] = []
        self.stale = b""
        self.mute = False
        self._clients: set[asyncio.Task[Any]] = set()
        self._handles: dict[int, list[Any]] = {}

    @contextlib.asynccontextmanager
    async def listening(self, path: Path) -> AsyncIterator[None]:
        server = await asyncio.start_unix_server(self._client, path, limit=1 << 26)
        try:
            yield
        finally:
            server.close()
            async with asyncio.timeout(_LEAVE_S):
                await asyncio.gather(*self._clients)

    def asked(self, what: str) -> list[dict[str, Any]]:
        return [arguments for name, arguments in self.heard if name == what]

    @property
    def commands(self) -> list[list[str]]:
        return [[each["path"], *each["arg"]] for each in self.asked("guest-exec")]

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        writer.write(self.stale)
        with contextlib.suppress(ConnectionError):
            await self._talk(reader, writer)
        writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while raw := await reader.readline():
            question = json.loads(raw.rpartition(DELIMITER)[2])
            what, arguments = question["execute"], question["arguments"]
            self.heard.append((what, arguments))
            if self.mute:
                continue
            if what == "guest-sync-delimited":
                writer.write(DELIMITER)
            try:
                answer: dict[str, Any] = {"return": self._answer(what, arguments)}
            except FileNotFoundError as error:
                answer = {"error": {"class": "GenericError", "desc": str(error)}}
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()

    def _answer(self, what: str, arguments: dict[str, Any]) -> object:
        match what:
            case "guest-sync-delimited":
                return arguments["id"]
            case "guest-exec":
                return {"pid": self._run(arguments)}
            case "guest-exec-status":
                return self._status()
            case "guest-file-open":
                return self._open(arguments["path"])
            case "guest-file-read":
                return self._read(arguments["handle"], arguments["count"])
            case "guest-file-close" | "guest-ping":
                return {}
            case _:
                raise FileNotFoundError(f"The command {what} has not been found")

    def _run(self, arguments: dict[str, Any]) -> int:
        if "kill -" in str(arguments["arg"]):
            self.process.killed = True
            self.process.ended = {"signal": 15}
        return 77

    def _status(self) -> dict[str, Any]:
        process = self.process
        if not process.done:
            process.asked += 1
            return {"exited": False}
        whole = {
            "out-data": base64.b64encode(b"".join(process.stdout)).decode(),
            "err-data": base64.b64encode(b"".join(process.stderr)).decode(),
        }
        return {"exited": True, **process.ended, **whole}

    def _open(self, path: str) -> int:
        handle = len(self._handles) + 1000
        self._handles[handle] = [path.rpartition("/")[2], 0]
        return handle

    def _read(self, handle: int, count: int) -> dict[str, Any]:
        name, position = self._handles[handle]
        said = self.process.said(getattr(self.process, name))
        piece = said[position : position + count]
        self._handles[handle][1] += len(piece)
        at_end = position + count >= len(said)
        return {"count": len(piece), "buf-b64": base64.b64encode(piece).decode(), "eof": at_end}
