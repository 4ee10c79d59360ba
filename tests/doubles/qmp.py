"""A stand-in for QEMU's monitor: speaks QMP on a socket, and takes part in migrations."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

_LEAVE_S = 5.0
USERNET = """Hub -1 (net):
  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ
  TCP[ESTABLISHED]   17       127.0.0.1 50000       10.0.2.15    22     0     0
  TCP[HOST_FORWARD]  16       127.0.0.1 35309       10.0.2.15    22     0     0
"""


class Monitor:
    """``heard`` is what was executed; ``state`` what it saves, or was given to restore.

    ``refuses`` names what it will not execute, ``fails`` that a migration comes to nothing.
    """

    def __init__(self, *, state: bytes = b"", refuses: str = "", fails: bool = False) -> None:
        self.heard: list[str] = []
        self.arguments: dict[str, list[dict[str, Any]]] = {}
        self.state = state
        self._refuses = refuses
        self._fails = fails
        self._migrating: asyncio.Task[None] | None = None
        self._listener: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    @contextlib.asynccontextmanager
    async def listening(self, path: Path) -> AsyncIterator[None]:
        async with await asyncio.start_unix_server(self._client, path):
            try:
                yield
            finally:
                if self._listener is not None:
                    self._listener.close()
                async with asyncio.timeout(_LEAVE_S):
                    await asyncio.gather(*self._tasks)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._take_part()
        version = {"qemu": {"major": 7, "minor": 2, "micro": 0}, "package": ""}
        writer.write(json.dumps({"QMP": {"version": version, "capabilities": []}}).encode() + b"\n")
        text, decoder = "", json.JSONDecoder()
        while raw := await reader.read(1 << 16):  # no line ends
            text += raw.decode()
            while text.strip():
                try:
                    question, end = decoder.raw_decode(text)
                except ValueError:
                    break
                text = text[end:].lstrip()
                answer = await self._answer(question["execute"], question.get("arguments", {}))
                known = {key: question[key] for key in ("id",) if key in question}
                writer.write(json.dumps(answer | known).encode() + b"\n")
        writer.close()

    def _take_part(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)

    async def _answer(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        self.heard.append(name)
        self.arguments.setdefault(name, []).append(arguments)
        if name == self._refuses:
            return {"error": {"class": "GenericError", "desc": f"{name} is refused"}}
        match name:
            case "human-monitor-command":
                return {"return": USERNET}
            case "migrate":
                self._migrating = asyncio.create_task(self._save(_path(arguments)))
            case "migrate-incoming":
                self._listener = await asyncio.start_unix_server(self._load, _path(arguments))
            case "query-migrate":
                return {"return": await self._status()}
            case _:
                pass
        return {"return": {}}

    async def _status(self) -> dict[str, str]:
        if self._fails:
            return {"status": "failed", "error-desc": "the devices differ"}
        if self._migrating is not None:
            await self._migrating
        done = self._migrating is not None or self.state
        return {"status": "completed" if done else "active"}

    async def _save(self, path: str) -> None:
        _, writer = await asyncio.open_unix_connection(path)
        writer.write(self.state)
        writer.close()
        await writer.wait_closed()

    async def _load(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._take_part()
        self.state = await reader.read(-1)
        writer.close()


def _path(arguments: dict[str, Any]) -> str:
    return str(arguments["uri"]).removeprefix("unix:")
