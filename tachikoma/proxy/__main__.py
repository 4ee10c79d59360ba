"""The detached proxy: ``python -P -m tachikoma.proxy DESCRIPTOR``.

DESCRIPTOR is the socket on which the one who started us says how to run.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys

import uvloop

from tachikoma.host.clock import SystemClock
from tachikoma.model.errors import TachikomaError
from tachikoma.proxy.pidfile import Announcement
from tachikoma.proxy.plan import decode
from tachikoma.proxy.run import log_to, serve

_log = logging.getLogger("tachikoma.proxy")


def main() -> int:
    """Run the proxy to its end and give the exit status."""
    log_to(sys.stderr)
    try:
        plan = decode(_told())
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(plan, clock=SystemClock(), announce=_announce, own_log=True))
    except TachikomaError as error:
        _log.error("%s (%s); %s", error.message, error.code, error.hint)
        return error.exit_status
    return 0


def _told() -> bytes:
    with socket.socket(fileno=int(sys.argv[1])) as ours, ours.makefile("rb") as stream:
        return stream.read()


def _announce(announcement: Announcement) -> None:
    _log.info(
        "tachikoma %s listens on %s for %s",
        announcement.version,
        announcement.endpoint,
        announcement.upstream,
    )


if __name__ == "__main__":
    sys.exit(main())
