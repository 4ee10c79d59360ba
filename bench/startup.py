"""How long a command takes that does next to nothing, against an interpreter that does nothing."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from bench.figure import Figure, ratio
from tachikoma.host.process import run

_RUNS = 25
_DEADLINE_S = 30.0


async def figures() -> AsyncIterator[Figure]:
    """Measure `tachikoma --version` and `tachikoma list` with nothing to list."""
    program = str(Path(sys.executable).with_name("tachikoma"))
    with tempfile.TemporaryDirectory() as home:
        nothing = _command(home, sys.executable, "-c", "pass")
        version = _command(home, program, "--version")
        listing = _command(home, program, "list", "--json")
        yield await ratio("version/python", version, nothing, runs=_RUNS)
        yield await ratio("list/python", listing, nothing, runs=_RUNS)


def _command(home: str, *argv: str) -> Callable[[], Awaitable[float]]:
    places = {"XDG_CONFIG_HOME": "", "XDG_DATA_HOME": "", "XDG_CACHE_HOME": ""}

    async def once() -> float:
        began = time.perf_counter()
        await run(argv, deadline_s=_DEADLINE_S, env={"HOME": home, **places}, cwd=Path(home))
        return time.perf_counter() - began

    return once
