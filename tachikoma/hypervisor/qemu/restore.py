"""Letting a QEMU that waits for it go on from a saved machine."""

from __future__ import annotations

import asyncio
import json
import secrets
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tachikoma.hypervisor.qemu.argv import Hardware
from tachikoma.hypervisor.qemu.monitor import conversation
from tachikoma.hypervisor.qemu.snapshot import Saved
from tachikoma.model.errors import AgentError

_RESTORE_S = 60.0
_BIRTH_S = 20.0


@dataclass(frozen=True, slots=True)
class Restore:
    """What to go on from. ``golden``: as a new machine, which is told who it is.

    ``commit`` is called when all is ready, just before the guest goes on: from then on its disk
    belongs to what it does, and nothing may go on from the saved machine again (as this VM).
    """

    saved: Saved
    golden: bool
    commit: Callable[[], None]


async def restore(hardware: Hardware, what: Restore) -> int | None:
    """Let the QEMU that runs ``hardware`` go on from ``what``; gives the port of its SSH server.

    Raises:
        HypervisorError: QEMU cannot.
        AgentError: the guest does not answer.
    """
    async with conversation(hardware.monitor, deadline_s=_RESTORE_S) as monitor:
        await monitor.load(what.saved.state)
        for slot, share in enumerate(hardware.shares):
            await monitor.plug(slot, share)
        port = await monitor.ssh_port()
        what.commit()
        await monitor.go_on()
    if what.golden:
        await bear(hardware.birth, hardware.mac, deadline_s=_BIRTH_S)
    return port


async def bear(socket: Path, mac: str, *, deadline_s: float) -> None:
    """Tell a machine that was just restored from a golden snapshot who it is.

    Raises:
        AgentError: it does not become that, in time or at all.
    """
    about = {
        "seed": secrets.token_bytes(64).hex(),
        "machine_id": uuid.uuid4().hex,
        "boot_id": str(uuid.uuid4()),
        "mac": mac,
    }
    try:
        async with asyncio.timeout(deadline_s):
            reader, writer = await asyncio.open_unix_connection(socket)
            try:
                writer.write(json.dumps(about).encode() + b"\n")
                await writer.drain()
                heard = await reader.readline()
            finally:
                writer.close()
    except (TimeoutError, OSError) as error:
        raise _stillborn(str(error)) from error
    if heard != b"born\n":
        raise _stillborn(repr(heard[:80]))


def _stillborn(why: str) -> AgentError:
    return AgentError(
        "a VM that was restored from a snapshot does not answer",
        hint="it is started by booting, and the snapshot made anew",
        details=why,
    )
