"""Talking to a running QEMU by its monitor (QMP)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

from tachikoma.model.errors import HypervisorError

if TYPE_CHECKING:
    from qemu.qmp import QMPClient

_FORWARD = re.compile(r"TCP\[HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)\s")


class Monitor:
    """An open conversation with one QEMU."""

    def __init__(self, *, client: QMPClient) -> None:
        self._client = client

    async def ssh_port(self) -> int | None:
        """Give the port of this host that leads to the guest's SSH server."""
        answer = await self._client.execute(
            "human-monitor-command", {"command-line": "info usernet"}
        )
        return forwarded_port(str(answer))

    async def power_down(self) -> None:
        """Press the guest's power button."""
        await self._client.execute("system_powerdown")

    async def quit(self) -> None:
        """Make QEMU end now; what it holds for the disk is written."""
        await self._client.execute("quit")


@contextlib.asynccontextmanager
async def conversation(socket: Path, *, deadline_s: float) -> AsyncIterator[Monitor]:
    """Talk to the QEMU whose monitor is at ``socket``, for ``deadline_s`` at most.

    Raises:
        HypervisorError: it does not answer, or not in time.
    """
    # Here, since it takes 60 ms that commands which only look at files need not wait for.
    from qemu.qmp import QMPClient, QMPError

    logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)  # what it would log, it also raises
    client = QMPClient("tachikoma")
    try:
        async with asyncio.timeout(deadline_s):
            await client.connect(str(socket))
            try:
                yield Monitor(client=client)
            finally:
                with contextlib.suppress(QMPError, EOFError):
                    await client.disconnect()
    except (TimeoutError, QMPError, OSError, EOFError) as error:
        raise HypervisorError(
            f"QEMU does not answer at {socket}",
            hint="it may have ended, or another program talks to its monitor",
            details=str(error),
        ) from error


def forwarded_port(usernet: str) -> int | None:
    """Find in ``info usernet`` the port of this host that is forwarded to the guest (pure)."""
    found = _FORWARD.search(usernet)
    return int(found[1]) if found else None
