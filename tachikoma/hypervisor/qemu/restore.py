"""Letting a QEMU that waits for it go on from a saved machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tachikoma.host.timing import lap
from tachikoma.hypervisor.qemu.argv import Hardware
from tachikoma.hypervisor.qemu.awake import Awake
from tachikoma.hypervisor.qemu.monitor import conversation
from tachikoma.hypervisor.qemu.snapshot import Saved
from tachikoma.model.errors import HypervisorError

_RESTORE_S = 60.0
_BIRTH_S = 20.0


class NotRestoredError(HypervisorError):
    """A saved machine did not go on: ``HypervisorError`` with the reason as its details."""


@dataclass(frozen=True, slots=True)
class Restore:
    """What to go on from. ``golden``: as a new machine, which is told who it is.

    ``commit`` is called when all is ready, just before the guest goes on: from then on its disk
    belongs to what it does, and nothing may go on from the saved machine again (as this VM).
    """

    saved: Saved
    golden: bool
    commit: Callable[[], None]


async def restore(hardware: Hardware, what: Restore) -> tuple[int | None, Awake | None]:
    """Let the QEMU that runs ``hardware`` go on from ``what``.

    Gives the port of its SSH server, and the interpreter that is awake in a golden machine.

    Raises:
        HypervisorError: QEMU cannot.
        AgentError: the guest does not answer.
    """
    async with conversation(hardware.monitor, deadline_s=_RESTORE_S) as monitor:
        lap("QEMU answers")
        await monitor.load(what.saved.state)
        lap("the state is restored")
        for slot, share in enumerate(hardware.shares):
            await monitor.plug(slot, share)
        lap("the shares are plugged in")
        port = await monitor.ssh_port()
        what.commit()
        await monitor.go_on()
    if not what.golden:
        return port, None
    awake = await Awake.born(hardware.birth, hardware.mac, deadline_s=_BIRTH_S)
    lap("the guest is a machine of its own")
    return port, awake
