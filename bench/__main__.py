"""``python -m bench [WORD...]``: measure all, or what has one of the words in its name."""

from __future__ import annotations

import asyncio
import json
import platform
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict
from pathlib import Path

from bench import agent, daemon, first_byte, output, proxying, relay, spawn, startup, streams
from bench.figure import Figure
from tachikoma.model.errors import TachikomaError

RESULT = Path(__file__).resolve().parent.parent / "build" / "bench.json"
GROUPS: dict[str, Callable[[], AsyncIterator[Figure]]] = {
    "version/python list/python": startup.figures,
    "mcp_initialize/sdk_import mcp_list_ms": agent.figures,
    "proxy_first_byte/direct": first_byte.figures,
    "proxy_added_ms proxy_rps/nginx_1k _100k _5m": proxying.figures,
    "proxy_cpu_s_per_1000_events": streams.figures,
    "daemon_output/echo daemon_output_memory_mb": output.figures,
    "relay_dispatch_p99_ms relay_memory_mb relay_messages/bare": relay.figures,
    "daemon_tasks/echo daemon_tasks_memory_mb": daemon.figures,
    "cold_spawn/bare_boot warm_spawn/cold_spawn warm_spawn/bare_restore"
    " provision_round_trips": spawn.figures,
}


async def measure(words: list[str]) -> int:
    """Print each figure as soon as it is there, then write them all."""
    found: list[Figure] = []
    failed = 0
    for names, group in GROUPS.items():
        if words and not any(word in names for word in words):
            continue
        try:
            async for figure in group():
                print(figure, flush=True)
                found.append(figure)
        except TachikomaError as error:
            why = "\n".join(filter(None, (error.message, error.hint, error.details)))
            print(f"{names}: not measured: {why}", file=sys.stderr, flush=True)
            failed = 1
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    machine = {"python": platform.python_version(), "platform": platform.platform()}
    told = {"machine": machine, "figures": [asdict(figure) for figure in found]}
    RESULT.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    return failed


if __name__ == "__main__":
    sys.exit(asyncio.run(measure(sys.argv[1:])))
