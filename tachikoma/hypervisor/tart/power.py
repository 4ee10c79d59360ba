"""Switching VMs on and off."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path

from tachikoma.host import files, process, tasks
from tachikoma.host.clock import Clock, attempts
from tachikoma.host.paths import private_dir
from tachikoma.hypervisor.tart import argv, sentinel
from tachikoma.hypervisor.tart.output import Described, decode_get
from tachikoma.hypervisor.tart.program import Program
from tachikoma.hypervisor.tart.records import Records, Run
from tachikoma.hypervisor.tart.refusals import is_already_running, is_broken_off, translated
from tachikoma.model.errors import (
    CommandFailed,
    HypervisorError,
    HypervisorMissingError,
    UnsupportedError,
    VmNotFoundError,
    VmNotRunningError,
)
from tachikoma.model.names import VmName
from tachikoma.model.vm import Launch, VmState

_UP_S = 90.0
"""A start waits for every copy of a VM that Tart is making."""
_CONTROL_S = 20.0
_ASK_GUEST_S = 10.0
_ASK_AGAIN_S = 2.0
_FORCE_S = 5
_GONE_S = 10.0


class Power:
    """Starts and stops VMs. A VM runs as long as the process `tart run` does."""

    def __init__(self, *, program: Program, records: Records, clock: Clock) -> None:
        self._program = program
        self._records = records
        self._clock = clock

    async def described(self, vm: VmName) -> Described | None:
        """Ask Tart about ``vm``; None if it is absent or its files are not complete."""
        try:
            return decode_get(await self._program.text(argv.get_argv(vm)))
        except VmNotFoundError:
            return None
        except HypervisorError:
            if (self._place(vm) / "disk.img").exists() or not self._place(vm).is_dir():
                raise
            return None  # a copy that was cut short

    def state(self, vm: VmName, told: VmState) -> VmState:
        """Give the state of ``vm``: one that Tart calls stopped may be about to run."""
        if told is VmState.STOPPED and self._records.run(vm) is not None:
            return VmState.RUNNING
        return told

    def has_control(self, vm: VmName) -> bool:
        """Tell whether the socket is there by which Tart talks to the guest's agent."""
        return self._control(vm).exists()

    async def on(self, vm: VmName, launch: Launch, state: VmState) -> None:
        """Start ``vm`` unless it runs, and come back when the guest does.

        Raises:
            HypervisorMissingError: Tart, or Softnet, is not installed.
            HypervisorError: Tart refused; if so, nothing runs.
        """
        if state is VmState.RUNNING:
            await self._until_up(vm, self._records.run(vm))
            return
        if state is VmState.SUSPENDED:  # Tart cannot continue a Linux guest; this drops its memory
            await self._cut(vm, timeout_s=_FORCE_S)
        line = argv.run_argv(vm, launch)
        self._control(vm).unlink(missing_ok=True)  # one left by a killed run deafens the agent
        log = self._records.log(vm)
        private_dir(log.parent)
        with files.translated(log):
            log.unlink(missing_ok=True)
        pid = self._program.detach(line, log)
        run = Run(pid, process.start_time(pid) or "")
        try:
            self._records.save_run(vm, run)
            await self._until_up(vm, run)
        except BaseException:
            await asyncio.shield(tasks.spawn(self._end(run), name="end a failed start"))
            raise

    async def off(self, vm: VmName, *, grace_s: float) -> None:
        """Stop ``vm`` and come back when nothing of it runs. Does nothing if nothing does."""
        described = await self.described(vm)
        if described is None:
            return
        state = self.state(vm, described.state)
        if state is VmState.STOPPED:
            return
        if state is VmState.RUNNING and grace_s > 0:
            await self._shut_down(vm, grace_s)
        if await self._runs(vm) or state is VmState.SUSPENDED:
            await self._cut(vm, timeout_s=_FORCE_S if grace_s > 0 else 0)
        if (run := self._records.run(vm)) is not None and not await self._gone(vm, _FORCE_S):
            await self._end(run)  # it has not come as far as Tart's own lock
        if not await self._gone(vm, _GONE_S):
            raise HypervisorError(
                f"the VM {vm} does not stop", hint="end it by hand: see `ps aux | grep 'tart run'`"
            )
        self._control(vm).unlink(missing_ok=True)

    async def _until_up(self, vm: VmName, run: Run | None) -> None:
        """Wait until the guest runs; ``run`` is the process that is to run it, if it is ours.

        Nothing says so. Tart holds the VM's lock before it asks macOS for the guest, which may
        still refuse, and makes the control socket after that.
        """
        begun = self._clock.monotonic()
        async for _ in attempts(self._clock, deadline_s=_UP_S, most_s=0.25):
            if run is not None and not run.lives():
                self._refuse(vm)
                run = None  # another process runs it
            described = await self.described(vm)
            if described is None:
                raise VmNotFoundError(f"the VM {vm} is gone", hint="spawn it anew")
            up = described.state is VmState.RUNNING
            waited = self._clock.monotonic() - begun
            if up and (self.has_control(vm) or waited > _CONTROL_S):
                return
            if run is None and not up and waited > _FORCE_S:
                self._refuse(vm, always=True)
        raise HypervisorError(
            f"Tart did not start the VM {vm} within {_UP_S:g} s",
            hint=f"another tart may hold its locks: `ps aux | grep tart`; its log: "
            f"{self._records.log(vm)}",
        )

    def _refuse(self, vm: VmName, *, always: bool = False) -> None:
        """Raise what the log of an ended run says, unless it gave way to another run."""
        log = self._records.log(vm)
        try:
            said = log.read_text(encoding="utf-8", errors="replace")
        except OSError:
            said = ""
        if is_already_running(said) and not always:
            return
        error = translated("run", None, said)
        kinds = (HypervisorMissingError, UnsupportedError)
        kind = type(error) if isinstance(error, kinds) else HypervisorError
        raise kind(
            f"Tart did not start the VM {vm}: {error.message}",
            hint=error.hint,
            details=error.details,
        )

    async def _shut_down(self, vm: VmName, grace_s: float) -> None:
        """Ask the guest to shut down until it agrees, and wait; ``grace_s`` in all."""
        end = self._clock.monotonic() + grace_s
        while (left := end - self._clock.monotonic()) > 0 and await self._runs(vm):
            agreed = await self._ask_guest(vm, min(left, _ASK_GUEST_S))
            left = max(end - self._clock.monotonic(), 0.0)
            await self._gone(vm, left if agreed else min(left, _ASK_AGAIN_S))

    async def _ask_guest(self, vm: VmName, within_s: float) -> bool:
        """Ask by the guest's agent, or else press its power button. True if it has agreed."""
        line = argv.exec_argv(vm, sentinel.power_off(), stdin=False)
        if self.has_control(vm):
            said: list[bytes] = []
            with contextlib.suppress(CommandFailed):
                status = await self._program.listen(
                    line, lambda _, piece: said.append(piece), deadline_s=within_s
                )
                if status == 0 or is_broken_off(b"".join(said).decode("utf-8", "replace")):
                    return True
        if (run := self._records.run(vm)) is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(run.pid, signal.SIGUSR2)
        return False

    async def _cut(self, vm: VmName, *, timeout_s: int) -> None:
        with contextlib.suppress(VmNotRunningError, VmNotFoundError):
            await self._program.text(
                argv.stop_argv(vm, timeout_s=timeout_s), deadline_s=timeout_s + _GONE_S
            )

    async def _runs(self, vm: VmName) -> bool:
        described = await self.described(vm)
        return described is not None and self.state(vm, described.state) is VmState.RUNNING

    async def _gone(self, vm: VmName, within_s: float) -> bool:
        async for _ in attempts(self._clock, deadline_s=within_s, most_s=0.25):
            if not await self._runs(vm):
                return True
        return False

    async def _end(self, run: Run) -> None:
        if run.lives():
            await asyncio.to_thread(process.end_process, run.pid, started=run.started)

    def _place(self, vm: VmName) -> Path:
        return self._program.home / "vms" / vm

    def _control(self, vm: VmName) -> Path:
        return self._place(vm) / "control.sock"
