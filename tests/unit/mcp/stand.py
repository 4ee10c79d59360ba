"""An agent's client and a server over synthetic VMs, joined in memory."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import mcp_types as types
from mcp import Client
from mcp.client.context import ClientRequestContext

from tachikoma.host.clock import SystemClock, attempts
from tachikoma.mcp.server import Service
from tests.unit.cli.stand import CommandLine, SyntheticRuntime

MODES = ("legacy", "auto")
Mode = Literal["legacy", "auto"]
NAME = "tachikoma-box-main"
CWD = "/src/box"
Says = Callable[[Sequence[str], Callable[[bytes], None], Callable[[bytes], None]], int]


class Agent:
    """A client, with what it was told on the way."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.progress: list[str] = []

    async def call(self, tool: str, /, **arguments: Any) -> types.CallToolResult:
        async def progressed(progress: float, total: float | None, message: str | None) -> None:
            self.progress.append(message or "")

        return await self.client.call_tool(tool, arguments, progress_callback=progressed)

    async def use(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """Call a tool that succeeds; give its structured content, which its text repeats."""
        result = await self.call(tool, **arguments)
        assert result.is_error is False, text_of(result)
        assert isinstance(result.structured_content, dict)
        assert json.loads(text_of(result)) == result.structured_content
        return result.structured_content

    async def fail(self, tool: str, /, **arguments: Any) -> tuple[str, str]:
        """Call a tool that fails; give the error's code and its text."""
        result = await self.call(tool, **arguments)
        assert result.is_error is True, text_of(result)
        assert result.structured_content is None
        assert result.meta is not None
        return result.meta["tachikoma/error"]["code"], text_of(result)


def text_of(result: types.CallToolResult) -> str:
    return "\n".join(part.text for part in result.content if isinstance(part, types.TextContent))


def runtime(line: CommandLine) -> SyntheticRuntime:
    environ = {"HOME": str(line.home), "XDG_CACHE_HOME": str(line.home / ".cache")}
    return SyntheticRuntime(line, environ=environ, engine=None)


@asynccontextmanager
async def connected(
    line: CommandLine,
    *,
    mode: Mode = "legacy",
    repo: str | None = None,
    answer: types.ElicitResult | None = None,
    asked: list[str] | None = None,
    hears: Callable[[object], None] = lambda _: None,
) -> AsyncIterator[Agent]:
    """Join an agent to a server; ``answer`` is what its user says to every question."""

    async def elicited(
        context: ClientRequestContext, params: types.ElicitRequestParams
    ) -> types.ElicitResult:
        assert answer is not None
        if asked is not None:
            asked.append(params.message)
        return answer

    async def heard(message: object) -> None:
        hears(message)

    parts = runtime(line)
    repository = None if repo is None else await parts.git.repository(Path(repo))
    service = Service(runtime=parts, repository=repository)
    async with Client(
        service.protocol,
        mode=mode,
        elicitation_callback=None if answer is None else elicited,
        message_handler=heard,
        cache=None,
    ) as client:
        yield Agent(client)


async def until(met: Callable[[], bool]) -> None:
    """Wait for something that is about to happen."""
    async for _ in attempts(SystemClock(), deadline_s=5.0, first_s=0.001):
        if met():
            return
    raise AssertionError("it does not happen")


def says(stdout: bytes = b"", stderr: bytes = b"", status: int = 0) -> Says:
    """A command that says this and ends."""

    def script(_: Sequence[str], out: Callable[[bytes], None], err: Callable[[bytes], None]) -> int:
        out(stdout)
        err(stderr)
        return status

    return script
