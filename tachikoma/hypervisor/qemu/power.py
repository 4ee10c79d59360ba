"""Switching VMs on and off."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tachikoma.host import files, process, tasks
from tachikoma.host.clock import Clock, attempts
from tachikoma.host.paths import private_dir
from tachikoma.host.timing import lap
from tachikoma.hypervisor.qemu import kvm, shares
from tachikoma.hypervisor.qemu.agent import Agent
from tachikoma.hypervisor.qemu.argv import Accelerator, Hardware, Share, Wiring, qemu_argv
from tachikoma.hypervisor.qemu.awake import Awake
from tachikoma.hypervisor.qemu.machine import (
    Home,
    Machine,
    Machines,
    Process,
    Run,
    boot_id,
    claimed_by_another,
    socket_directory,
)
from tachikoma.hypervisor.qemu.monitor import conversation
from tachikoma.hypervisor.qemu.probe import LAUNCHER, QEMU, program
from tachikoma.hypervisor.qemu.restore import NotRestoredError, Restore, restore
from tachikoma.model.errors import AgentError, HostError, HypervisorError
from tachikoma.model.names import VmName
from tachikoma.model.vm import Launch

MONITOR = "monitor.sock"
AGENT = "agent.sock"
BIRTH = "birth.sock"

_UP_S = 60.0
_SEEN_UP_S = 10.0
_ASK_S = 3.0
_ASK_AGAIN_S = 2.0
_QUIT_S = 3.0
_DAEMON_S = 1.0
_LAST_WORDS_S = 0.5
_LAST_LINES = 12
# sun_path holds 108 bytes with its end; the longest name below the directory is a share's.
_LONGEST_DIRECTORY = 107 - len("/monitor.sock")


class Power:
    """Starts and stops the VMs of ``machines``; their sockets go below ``runtime``."""

    def __init__(self, *, machines: Machines, runtime: Path, verdict: Path, clock: Clock) -> None:
        self._machines = machines
        self._runtime = runtime
        self._verdict = verdict
        self._clock = clock

    async def on(
        self,
        machine: Machine,
        launch: Launch,
        *,
        restoring: Restore | None = None,
        tied: bool = False,
    ) -> Awake | None:
        """Start a stopped VM, by booting it or from a saved machine; if that fails, nothing runs.

        ``tied``: it ends when this process does. Gives the interpreter that is awake in a golden
        machine; who gets it closes it.

        Raises:
            HypervisorMissingError, MissingToolError: a program is not installed.
            HypervisorError: QEMU refused; details hold its last words.
            AgentError: the restored guest does not answer.
        """
        home = self._machines.home(machine.name)
        qemu = program(QEMU)
        sockets = self._sockets(machine.name)
        accelerator = (await kvm.verdict(qemu, self._verdict)).accelerator
        hardware = hardware_of(machine, launch, sockets, accelerator)
        hardware = replace(hardware, incoming=restoring is not None)
        spec = _spec(qemu, hardware, launch, sockets) | {
            "memory_from": str(restoring.saved.memory) if restoring else None,
            "tied": os.getpid() if tied else None,
        }
        while (started := await self._launch(home, sockets, spec)) is None:
            await self.end_abandoned(machine.name)
            if (run := self._machines.running(machine.name)) is not None:
                await self.see_up(machine.name, run)
                return None
        try:
            run = await self._recorded(machine.name, started)
            lap("QEMU has its memory")
            return await self._bring_up(machine.name, run, hardware, restoring)
        except BaseException:
            ending = tasks.spawn(self._clear_away(machine.name, started), name="end a failed start")
            await asyncio.shield(ending)
            raise

    async def end_abandoned(self, vm: VmName) -> None:
        """End what waits to be restored by a command that was ended. Does nothing else.

        Raises:
            HypervisorError: another command is restoring the VM.
        """
        await self._started(vm)
        run = self._machines.alive(vm)
        if run is None or not run.waiting:
            return
        if not run.abandoned:
            raise claimed_by_another(vm)
        await self.off(vm, grace_s=0)

    async def see_up(self, vm: VmName, run: Run) -> None:
        """Wait until a start that another command began, and may have died over, is through.

        Raises:
            HypervisorError: it failed.
        """
        try:
            await self.ask_port(vm, run, deadline_s=_SEEN_UP_S)
        except HypervisorError:
            if not run.qemu.lives():
                raise

    async def off(self, vm: VmName, *, grace_s: float) -> None:
        """Stop a VM and come back when nothing of it runs. Does nothing if nothing does."""
        await self._started(vm)
        run = self._machines.left_over(vm)
        if run is None:
            return
        if run.qemu.lives() and grace_s > 0:
            await self._shut_down(run, grace_s)
        if run.qemu.lives():
            with contextlib.suppress(HypervisorError):
                async with conversation(run.sockets / MONITOR, deadline_s=_QUIT_S) as monitor:
                    await monitor.quit()
                await self._gone(run.qemu, _QUIT_S)
        await self._end([run.qemu])
        await self._end_daemons(run)
        async for _ in attempts(self._clock, deadline_s=_QUIT_S, first_s=0.01, most_s=0.1):
            if not self._machines.locked(vm):  # QEMU's threads may outlive its first one
                break
        await self._clear_sockets_alone(vm, run)

    def clear_sockets(self, vm: VmName, run: Run | None = None) -> None:
        """Remove the sockets of a VM that is stopped, and the record of what ran."""
        directories = {socket_directory(self._runtime, vm)} | ({run.sockets} if run else set())
        for directory in directories:
            shutil.rmtree(directory, ignore_errors=True)
        self._machines.home(vm).run.unlink(missing_ok=True)

    async def ask_port(self, vm: VmName, run: Run, *, deadline_s: float = _ASK_S) -> int | None:
        """Find out from QEMU at which port of this host its guest answers SSH; None if unknown."""
        async with conversation(run.sockets / MONITOR, deadline_s=deadline_s) as monitor:
            port = await monitor.ssh_port()
        if port is not None:
            self._machines.note_port(vm, run, port)
        return port

    def _sockets(self, vm: VmName) -> Path:
        sockets = socket_directory(self._runtime, vm)
        if len(str(sockets).encode()) > _LONGEST_DIRECTORY:
            raise HypervisorError(
                f"the path {sockets} is too long for a socket",
                hint="let XDG_RUNTIME_DIR (or TMPDIR) name a directory with a shorter path",
            )
        return sockets

    async def _launch(self, home: Home, sockets: Path, spec: dict[str, Any]) -> Process | None:
        """Start the launcher, which holds the VM from its first moment; None if another one does.

        Raises:
            HypervisorError: somebody else keeps the VM locked, and it does not run.
        """
        vm = VmName(home.path.name)
        async for _ in attempts(self._clock, deadline_s=_SEEN_UP_S, first_s=0.01, most_s=0.1):
            if self._machines.alive(vm) is not None:
                return None
            if (lock := self._machines.lock(home)) is None:
                continue
            try:
                home.run.unlink(missing_ok=True)  # locked, but not on record: it is starting
                private_dir(self._runtime)
                private_dir(sockets)
                spec = spec | {"lock": lock}
                argv = [sys.executable, "-I", "-S", str(LAUNCHER), json.dumps(spec)]
                pid = process.detach(argv, log=home.log, cwd=home.path, pass_fds=(lock,))
            finally:
                os.close(lock)
            return Process(pid, process.start_time(pid) or "")
        raise claimed_by_another(vm)

    async def _recorded(self, vm: VmName, started: Process) -> Run:
        """Wait until it is on record what runs; its monitor can be talked to from then on."""
        async for _ in attempts(self._clock, deadline_s=_UP_S, first_s=0.005, most_s=0.02):
            process.reap(started.pid)
            run = self._machines.alive(vm)
            if run is not None and run.qemu == started:
                return run
            if not started.lives():
                break
        raise self._refused(vm)

    async def _bring_up(
        self, vm: VmName, run: Run, hardware: Hardware, restoring: Restore | None
    ) -> Awake | None:
        """Talk to the new QEMU until it runs the guest, and note the port that it got."""
        try:
            if restoring is None:
                await self.ask_port(vm, run, deadline_s=_UP_S)
                return None
            port, awake = await restore(hardware, restoring)
        except HypervisorError as error:
            said = self._refused(vm) if await self._gone(run.qemu, _LAST_WORDS_S) else error
            if restoring is not None:
                raise NotRestoredError(
                    f"{vm} does not go on from its saved memory",
                    hint="it is started by booting instead",
                    details=said.details or str(said),
                ) from error
            raise said from error
        self._machines.note_port(vm, run, port)
        return awake

    def _refused(self, vm: VmName) -> HypervisorError:
        log = self._machines.home(vm).log
        with files.translated(log):
            said = process.redacted(log.read_text(encoding="utf-8", errors="replace")).splitlines()
        return HypervisorError(
            f"QEMU did not start the VM {vm}",
            hint=f"its last words are above; all of them are in {log}"
            if said
            else "it said nothing; `tachikoma doctor` checks what it takes",
            details="\n".join(said[-_LAST_LINES:]),
        )

    async def _clear_away(self, vm: VmName, started: Process) -> None:
        """End what a failed start has left running, and nothing that another start runs."""
        await self._end([started])
        run = self._machines.left_over(vm)
        if run is not None and run.qemu == started:
            await self._end_daemons(run)
        await self._clear_sockets_alone(vm, run)

    async def _clear_sockets_alone(self, vm: VmName, run: Run | None) -> None:
        # Then somebody else is starting it, or has deleted it.
        with contextlib.suppress(HypervisorError, HostError):
            async with self._machines.claimed(vm):
                self.clear_sockets(vm, run)

    async def _started(self, vm: VmName) -> None:
        """Wait until a start that is under way has come so far that it can be ended.

        Raises:
            HypervisorError: it does not get there.
        """
        async for _ in attempts(self._clock, deadline_s=_SEEN_UP_S, first_s=0.01, most_s=0.1):
            if not self._machines.starting(vm):
                return
        raise claimed_by_another(vm)

    async def _shut_down(self, run: Run, grace_s: float) -> None:
        """Ask the guest to shut down until it agrees, and wait; ``grace_s`` in all.

        A guest that is still booting refuses, or does not hear.
        """
        end = self._clock.monotonic() + grace_s
        while run.qemu.lives() and (left := end - self._clock.monotonic()) > 0:
            agreed = await self._ask_guest(run, left)
            left = max(end - self._clock.monotonic(), 0.0)
            await self._gone(run.qemu, left if agreed else min(left, _ASK_AGAIN_S))

    async def _ask_guest(self, run: Run, left_s: float) -> bool:
        """Ask the guest to shut down by its agent, which is quick, or else by its power button.

        True if it has agreed; nobody tells what it thinks of the button.
        """
        agent = Agent(socket=run.sockets / AGENT, clock=self._clock)
        try:
            async with agent.turn(deadline_s=min(_ASK_S, left_s)) as line:
                await line.tell("guest-shutdown", mode="powerdown")
                # It is answered only with a refusal; that this is answered tells that it was not.
                await line.ask("guest-ping")
                return True
        except AgentError:
            with contextlib.suppress(HypervisorError):
                async with conversation(run.sockets / MONITOR, deadline_s=_ASK_S) as monitor:
                    await monitor.power_down()
            return False

    async def _gone(self, which: Process, within_s: float) -> bool:
        async for _ in attempts(self._clock, deadline_s=within_s, most_s=0.1):
            if not which.lives():
                process.reap(which.pid)
                return True
        return False

    async def _end_daemons(self, run: Run) -> None:
        """See the daemons off. They end with their QEMU; whoever does not is ended."""
        for daemon in run.daemons:
            await self._gone(daemon, _DAEMON_S)
        await self._end(run.daemons)

    async def _end(self, processes: Sequence[Process]) -> None:
        for each in processes:
            if each.lives():
                await asyncio.to_thread(process.end_process, each.pid, started=each.started)


def hardware_of(
    machine: Machine, launch: Launch, sockets: Path, accelerator: Accelerator
) -> Hardware:
    """Put together what a start of ``machine`` with ``launch`` runs."""
    return Hardware(
        name=machine.name,
        uuid=machine.uuid,
        cpus=machine.cpus,
        memory_mib=machine.memory_mib,
        mac=machine.mac,
        kernel=machine.base / "vmlinuz",
        initrd=machine.base / "initrd.img",
        cmdline=machine.cmdline,
        wiring=Wiring(
            network=launch.network,
            proxy=launch.proxy,
            socat=program("socat") if launch.proxy is not None else "",
        ),
        monitor=sockets / MONITOR,
        agent=sockets / AGENT,
        birth=sockets / BIRTH,
        shares=tuple(
            Share(mount.tag, shares.share_socket(sockets, slot))
            for slot, mount in enumerate(launch.mounts)
        ),
        accelerator=accelerator,
    )


def _spec(qemu: str, hardware: Hardware, launch: Launch, sockets: Path) -> dict[str, Any]:
    """Give what ``launch`` the program wants to be told, but for the lock."""
    maps = shares.id_maps() if launch.mounts else shares.IdMaps(uid=[], gid=[], tools=False)
    return {
        "record": "run.json",
        "about": {
            "boot_id": boot_id(),
            "sockets": str(sockets),
            "waiting": hardware.incoming,
            "starter": asdict(Process(os.getpid(), process.start_time(os.getpid()) or "")),
        },
        "qemu": qemu_argv(qemu, hardware),
        "monitor": str(hardware.monitor),
        "memory_size": hardware.memory_mib << 20,
        "shares": shares.share_specs(launch.mounts, sockets),
        "uid_map": maps.uid,
        "gid_map": maps.gid,
        "id_tools": maps.tools,
    }
