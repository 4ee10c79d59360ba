"""``python -m tachikoma.offline``: the stand-in as a process of its own.

Its standard output is lines of JSON: first its address, then each request as it comes. It ends on
SIGINT or SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Mapping
from dataclasses import asdict

from tachikoma.model.errors import HostError
from tachikoma.offline.demo import ERRAND
from tachikoma.offline.script import RunsCommands
from tachikoma.offline.server import OfflineApi


async def serve(port: int, secret_sha256: str | None) -> None:
    """Run the stand-in until somebody ends this process.

    Raises:
        HostError: the port cannot be used.
    """
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    api = OfflineApi(
        scripts=(ERRAND, RunsCommands()),
        port=port,
        secret_sha256=secret_sha256,
        on_request=lambda seen: _say(asdict(seen)),
    )
    async with api:
        _say({"address": api.url})
        await ended.wait()


def main() -> int:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(
        prog="python -m tachikoma.offline",
        description="A scripted stand-in for the Anthropic messages API on 127.0.0.1. "
        "It does the demo's errand, and runs COMMAND for a prompt `run: COMMAND`.",
    )
    parser.add_argument("--port", type=int, default=0, help="0 (the default) takes a free one")
    parser.add_argument(
        "--secret-sha256", metavar="HEX", help="accept only the credential that has this hash"
    )
    arguments = parser.parse_args()
    try:
        asyncio.run(serve(arguments.port, arguments.secret_sha256))
    except HostError as error:
        sys.stderr.write(f"{error.message}; {error.hint}\n")
        return error.exit_status
    return 0


def _say(line: Mapping[str, object]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
