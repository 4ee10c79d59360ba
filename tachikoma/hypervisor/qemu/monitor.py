"""Talking to a running QEMU by its monitor (QMP)."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tachikoma.host import files
from tachikoma.host.clock import SystemClock, attempts
from tachikoma.hypervisor.qemu.argv import Share, share_device
from tachikoma.model.errors import HypervisorError

if TYPE_CHECKING:
    from qemu.qmp import QMPClient

_CHUNK = 1 << 16
_MIGRATE_S = 30.0
_UNPLUG_S = 10.0
_FORWARD = re.compile(r"TCP\[HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)\s")


class Monitor:
    """An open conversation with one QEMU."""

    def __init__(self, *, client: QMPClient, socket: Path) -> None:
        self._client = client
        self._socket = socket
        self._clock = SystemClock()

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

    async def pause(self) -> None:
        """Stop the guest's processors."""
        await self._client.execute("stop")

    async def go_on(self) -> None:
        """Let the guest's processors run."""
        await self._client.execute("cont")

    async def save(self, into: Path) -> None:
        """Write the state of a paused VM, without its memory, to the new file ``into``."""
        await self._leave_memory_out()
        with files.translated(into):
            file = into.open("xb")
        with file:

            async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                try:
                    while chunk := await reader.read(_CHUNK):
                        file.write(chunk)
                    whole.set_result(None)
                except OSError as error:
                    whole.set_exception(error)
                finally:
                    writer.close()

            whole = asyncio.get_running_loop().create_future()
            with _socket_beside(self._socket) as path:
                async with await asyncio.start_unix_server(take, path):
                    await self._client.execute("migrate", {"uri": f"unix:{path}"})
                    await self._migrated()
                    with files.translated(into):
                        await whole

    async def load(self, state: Path) -> None:
        """Have a QEMU that waits for it take on the saved ``state``; it stays paused."""
        await self._leave_memory_out()
        with _socket_beside(self._socket) as path:
            await self._client.execute("migrate-incoming", {"uri": f"unix:{path}"})
            _, writer = await asyncio.open_unix_connection(path)
            with contextlib.closing(writer):
                with files.translated(state):
                    writer.write(await asyncio.to_thread(state.read_bytes))
                writer.write_eof()
                await writer.drain()
                await self._migrated()

    async def plug(self, slot: int, share: Share) -> None:
        """Plug a share in; its virtiofsd must listen."""
        chardev, device = share_device(slot, share)
        await self._client.execute("chardev-add", chardev)
        await self._client.execute("device_add", device)

    async def plugged(self) -> list[int]:
        """List the slots with a share in them."""
        names = await self._peripherals()
        return sorted(int(name.removeprefix("fs")) for name in names if name.startswith("fs"))

    async def unplug(self, slot: int) -> None:
        """Pull a share that the guest does not use out, and wait until it has let go of it."""
        device, chardev = f"fs{slot}", f"share{slot}"
        await self._client.execute("device_del", {"id": device})
        async for _ in attempts(self._clock, deadline_s=_UNPLUG_S, first_s=0.01, most_s=0.1):
            if device not in await self._peripherals() and await self._let_go(chardev):
                return
        raise HypervisorError(
            f"the guest does not let go of the shared directory in slot {slot}",
            hint="halt the VM instead: `tachikoma halt`",
        )

    async def _let_go(self, chardev: str) -> bool:
        """Remove a chardev; False while the device that had it is not quite gone."""
        from qemu.qmp import ExecuteError

        try:
            await self._client.execute("chardev-remove", {"id": chardev})
        except ExecuteError as error:
            if "busy" in str(error):
                return False
            raise
        return True

    async def take_disk_snapshot(self, name: str) -> None:
        """Keep the disk as it is in this moment under ``name``, inside its file."""
        about = {"device": "disk", "name": name}
        await self._client.execute("blockdev-snapshot-internal-sync", about)

    async def delete_disk_snapshot(self, name: str) -> None:
        """Let go of what is kept under ``name``."""
        about = {"device": "disk", "name": name}
        await self._client.execute("blockdev-snapshot-delete-internal-sync", about)

    async def _peripherals(self) -> set[str]:
        there = await self._client.execute("qom-list", {"path": "/machine/peripheral"})
        return {each["name"] for each in cast("list[dict[str, str]]", there)}

    async def _leave_memory_out(self) -> None:
        capability = {"capability": "x-ignore-shared", "state": True}
        await self._client.execute("migrate-set-capabilities", {"capabilities": [capability]})

    async def _migrated(self) -> None:
        about: dict[str, Any] = {}
        async for _ in attempts(self._clock, deadline_s=_MIGRATE_S, first_s=0.002, most_s=0.02):
            about = cast("dict[str, Any]", await self._client.execute("query-migrate"))
            if about.get("status") == "completed":
                return
            if about.get("status") in {"failed", "cancelled"}:
                break
        raise HypervisorError(
            "QEMU could not save or restore the state of a VM",
            hint="the VM is started afresh",
            details=str(about.get("error-desc", about)),
        )


@contextlib.contextmanager
def _socket_beside(monitor: Path) -> Iterator[Path]:
    path = monitor.with_name("state.sock")
    path.unlink(missing_ok=True)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


@contextlib.asynccontextmanager
async def conversation(socket: Path, *, deadline_s: float) -> AsyncIterator[Monitor]:
    """Talk to the QEMU whose monitor is at ``socket``, for ``deadline_s`` at most.

    Raises:
        HypervisorError: it does not answer, or not in time.
    """
    # Here, since it takes 60 ms that commands which only look at files need not wait for.
    from qemu.qmp import ExecuteError, QMPClient, QMPError

    logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)  # what it would log, it also raises
    client = QMPClient("tachikoma")
    try:
        async with asyncio.timeout(deadline_s):
            await client.connect(str(socket))
            try:
                yield Monitor(client=client, socket=socket)
            finally:
                with contextlib.suppress(QMPError, EOFError):
                    await client.disconnect()
    except ExecuteError as error:
        if "No space left" in str(error):
            raise files.from_os_error(OSError(errno.ENOSPC, str(error)), socket) from error
        raise HypervisorError(
            f"QEMU refuses: {error}", hint="its log, beside the VM's disk, may tell more"
        ) from error
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
