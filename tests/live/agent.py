"""An agent's client that starts the real ``tachikoma mcp`` and speaks to it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from mcp import Client, StdioServerParameters
from mcp.shared.exceptions import MCPError

INITIALIZE = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "test", "version": "1"},
}
_END_S = 20


class Raw:
    """A server process and its pipes: for what no client would say."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._last = 0

    def send(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data + b"\n")
        self.process.stdin.flush()

    def ask(self, method: str, params: Mapping[str, Any] | None = None) -> int:
        """Send a request and come back; gives its id."""
        self._last += 1
        request: dict[str, Any] = {"jsonrpc": "2.0", "id": self._last, "method": method}
        self.send(json.dumps(request | ({} if params is None else {"params": params})).encode())
        return self._last

    def hear(self) -> dict[str, Any]:
        """Give the next message of the server."""
        assert self.process.stdout is not None
        heard: dict[str, Any] = json.loads(self.process.stdout.readline())
        return heard

    def answer(self, request: int | None) -> dict[str, Any]:
        """Give the answer to a request, whatever comes before it."""
        while (heard := self.hear()).get("id", ...) != request:
            pass
        return heard

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        return self.answer(self.ask("tools/call", {"name": tool, "arguments": arguments}))

    def most_memory_mib(self) -> int:
        """The most memory that the server has ever held."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) >> 10


def command(*options: str) -> list[str]:
    return [sys.executable, "-m", "tachikoma", "mcp", *options]


@contextmanager
def raw(*options: str, environ: Mapping[str, str], cwd: Path) -> Iterator[Raw]:
    """Start a server and shake hands with it; it is dead afterwards."""
    with subprocess.Popen(
        command(*options),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=dict(environ),
        cwd=cwd,
    ) as process:
        made = Raw(process)
        try:
            made.answer(made.ask("initialize", INITIALIZE))
            made.send(b'{"jsonrpc":"2.0","method":"notifications/initialized"}')
            yield made
        finally:
            with contextlib.suppress(OSError):
                assert process.stdin is not None
                process.stdin.close()
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


class Agent:
    """A client of the SDK with the server that it has started."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def use(self, tool: str, /, **arguments: Any) -> Any:
        """Call a tool that succeeds, and give its structured content."""
        result = await self.client.call_tool(tool, arguments)
        assert result.is_error is False, result.content
        return result.structured_content

    async def fail(self, tool: str, /, **arguments: Any) -> str:
        """Call a tool that fails, and give the code of its error."""
        result = await self.client.call_tool(tool, arguments)
        assert result.is_error is True, result.structured_content
        assert result.meta is not None
        return str(result.meta["tachikoma/error"]["code"])


@asynccontextmanager
async def connected(*options: str, environ: Mapping[str, str], cwd: Path) -> AsyncIterator[Agent]:
    """Start a server and connect to it, in the newest era that both know."""
    program, *arguments = command(*options)
    server = StdioServerParameters(
        command=program, args=arguments, env=dict(os.environ) | dict(environ), cwd=cwd
    )
    async with Client(server, cache=None) as client:
        yield Agent(client)


__all__ = ["Agent", "MCPError", "Raw", "command", "connected", "raw"]
