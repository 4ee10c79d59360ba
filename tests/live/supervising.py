"""A supervisor of scripts: ``python -m tests.live.supervising PLACE GRACE_S KIND=SCRIPT...``.

Its clock runs twenty times as fast as others, so that its pauses do not keep a test waiting.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from tachikoma.host import attended, process
from tachikoma.host.clock import SystemClock
from tachikoma.model.errors_fleet import SupervisorBusyError
from tachikoma.model.vm import Stream
from tachikoma.supervisor.journal import RotatingLog
from tachikoma.supervisor.orders import Orders, by_signals
from tachikoma.supervisor.record import RecordFile
from tachikoma.supervisor.supervisor import Place, Supervisor
from tachikoma.supervisor.workers import Options, Worker

FASTER = 20


class FastClock(SystemClock):
    """Seconds that pass in a twentieth of one."""

    def monotonic(self) -> float:
        return super().monotonic() * FASTER

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds / FASTER)


def record_file(place: Path) -> RecordFile:
    return RecordFile(place / "daemon.json")


def log_file(place: Path) -> Path:
    return place / "logs" / "daemon.log"


async def main(place: Path, grace_s: float, scripts: dict[str, str]) -> int:
    clock = FastClock()
    log = RotatingLog(log_file(place), clock=clock)

    def say(_stream: Stream, line: str) -> None:
        log.add(line)
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    orders = Orders()
    supervisor = Supervisor(
        workers=[Worker(kind, ("sh", "-c", told), "", {}) for kind, told in scripts.items()],
        options=Options(directory=place),
        place=Place(
            pid=os.getpid(),
            started=process.start_time(os.getpid()) or "",
            environ={"PLACE": str(place)},
            record=record_file(place),
            log=log.path,
            start_time=process.start_time,
        ),
        say=say,
        clock=clock,
        attend=attended.attend,
        grace_s=grace_s,
    )
    try:
        with by_signals(orders):
            await supervisor.run(orders)
    except SupervisorBusyError as error:
        sys.stdout.write(f"error: {error.message}\n")
        return 1
    return 0


if __name__ == "__main__":
    workers = dict(each.split("=", 1) for each in sys.argv[3:])
    sys.exit(asyncio.run(main(Path(sys.argv[1]), float(sys.argv[2]), workers)))
