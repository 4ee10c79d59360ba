"""How soon an agent's client gets its first answer, and how fast the answers come after that."""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

from mcp import Client, StdioServerParameters

from bench.figure import Figure, ratio
from tachikoma.host.process import run, stream

_RUNS = 15
_CALLS = 100
_DEADLINE_S = 30.0
_INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "bench", "version": "1"},
    },
}


async def figures() -> AsyncIterator[Figure]:
    """Measure start-up to `initialize` answered, and calls of `list` in a row."""
    with tempfile.TemporaryDirectory() as home:
        place = _Place(Path(home))
        yield await ratio(
            "mcp_initialize/sdk_import", place.first_answer, place.import_of_the_sdk, runs=_RUNS
        )
        yield await place.calls_in_a_row()


class _Place:
    """A user with an empty home."""

    def __init__(self, home: Path) -> None:
        self._home = home
        names = ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME")
        self._environ = {"HOME": str(home), **dict.fromkeys(names, "")}
        self._program = str(Path(sys.executable).with_name("tachikoma"))

    async def import_of_the_sdk(self) -> float:
        began = time.perf_counter()
        await run(
            [sys.executable, "-c", "import mcp"],
            deadline_s=_DEADLINE_S,
            env=self._environ,
            cwd=self._home,
        )
        return time.perf_counter() - began

    async def first_answer(self) -> float:
        """Start the server, say the first thing, and take the time until it is answered."""
        answered: list[float] = []

        def hear(line: str) -> None:
            if not answered and json.loads(line)["id"] == 1:
                answered.append(time.perf_counter())

        began = time.perf_counter()
        await stream(
            [self._program, "mcp"],
            on_line=hear,
            stdin=json.dumps(_INITIALIZE).encode() + b"\n",
            deadline_s=_DEADLINE_S,
            env=self._environ,
            cwd=self._home,
        )
        return answered[0] - began

    async def calls_in_a_row(self) -> Figure:
        """Call `list` again and again, one after the other, with the engine in memory."""
        server = StdioServerParameters(
            command=self._program,
            args=["mcp", "--hypervisor", "synthetic"],
            env=self._environ,
            cwd=self._home,
        )
        took: list[float] = []
        async with Client(server, mode="legacy") as client:
            for _ in range(_CALLS):
                began = time.perf_counter()
                answer = await client.call_tool("list", {})
                took.append(time.perf_counter() - began)
                assert answer.is_error is False
        return Figure(
            "mcp_list_ms",
            statistics.median(took) * 1000,
            f"milliseconds a call, median of {_CALLS} in a row ({sum(took):.2f} s in all)",
        )
