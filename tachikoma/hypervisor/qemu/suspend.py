"""Suspending a running VM: its memory goes to the disk, and all that runs of it ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
from pathlib import Path

from tachikoma.host import files
from tachikoma.host.clock import Clock
from tachikoma.hypervisor.qemu import guest_exec
from tachikoma.hypervisor.qemu.agent import Agent
from tachikoma.hypervisor.qemu.machine import Home, Run
from tachikoma.hypervisor.qemu.monitor import Monitor, conversation
from tachikoma.hypervisor.qemu.power import AGENT, MONITOR
from tachikoma.hypervisor.qemu.snapshot import Saved, save_memory
from tachikoma.hypervisor.qemu.warming import memory_of
from tachikoma.model.errors import AgentError, DiskFullError, VmInUseError
from tachikoma.model.vm import GuestCommand

_DETACH = Path(__file__).with_name("detach.py")
_DETACH_S = 30.0
_SAVE_S = 300.0
_IN_USE = 3
_SPARE = 64 << 20
_NAMED = 4


async def detach_shares(run: Run, clock: Clock) -> None:
    """Have the guest let go of its shared directories.

    Raises:
        VmInUseError: something there uses them; says what. Nothing was changed.
        AgentError: the guest cannot.
    """
    agent = Agent(socket=run.sockets / AGENT, clock=clock)
    script = _DETACH.read_text(encoding="utf-8")
    argv = ("/usr/bin/python3", "-I", "-S", "-c", script)
    ended = await guest_exec.execute(agent, GuestCommand(argv, deadline_s=_DETACH_S), None, clock)
    if ended.status == _IN_USE:
        raise VmInUseError(
            "the worktree is in use in the VM, so its memory cannot be kept",
            hint="end what uses it (`exit` the shells there), or `tachikoma halt` the VM",
            details=_holders(ended.stdout),
        )
    if ended.status != 0:
        raise AgentError(
            "the guest cannot let go of its shared directories",
            hint="halt it instead: `tachikoma halt`",
            details=ended.stderr.decode("utf-8", "replace"),
        )


async def save(run: Run, home: Home, key: str) -> Saved:
    """Write a running VM, whose shares are detached, to its ``saved/``; it is paused then.

    Raises:
        HypervisorError: QEMU cannot.
        DiskFullError: no space.
    """
    saved = Saved(home.saved)
    saved.remove()
    with files.translated(saved.path):
        saved.path.mkdir(mode=0o700)
    async with conversation(run.sockets / MONITOR, deadline_s=_SAVE_S) as monitor:
        await _unplug_all(monitor)
        await monitor.pause()
        try:
            await monitor.save(saved.state)
            await asyncio.to_thread(save_memory, memory_of(run), saved.memory)
        except BaseException:
            await monitor.go_on()  # or it could not shut down
            raise
    await asyncio.to_thread(saved.seal, key)
    return saved


def check_space(run: Run, home: Home) -> None:
    """See whether there is room for the memory.

    Raises:
        DiskFullError: there is not; nothing was changed.
    """
    with files.translated(home.path):
        needed = memory_of(run).stat().st_blocks * 512 + _SPARE
        free = shutil.disk_usage(home.path).free
    if free < needed:
        raise DiskFullError(
            f"keeping the VM's memory takes {needed >> 20} MiB, and {home.path} has"
            f" {free >> 20} MiB left",
            hint="free some space, or `tachikoma halt` the VM",
        )


async def _unplug_all(monitor: Monitor) -> None:
    for slot in await monitor.plugged():
        await monitor.unplug(slot)


def _holders(told: bytes) -> str:
    lines = []
    for line in told.decode("utf-8", "replace").splitlines():
        with contextlib.suppress(ValueError, KeyError, TypeError):  # a guest may say anything
            about = json.loads(line)
            lines.append(f"{about['command']} (process {about['pid']}) uses {about['path']}")
    more = len(lines) - _NAMED
    return "\n".join([*lines[:_NAMED], *([f"and {more} more"] if more > 0 else [])])
