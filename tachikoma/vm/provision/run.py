"""Carrying a plan out: one exec, its marks turned into progress and findings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tachikoma.host.timing import lap
from tachikoma.hypervisor.port import Hypervisor
from tachikoma.model.errors import ProvisionFailed
from tachikoma.model.events import Report, StepProgress
from tachikoma.model.names import VmName
from tachikoma.model.vm import GuestCommand, Stream
from tachikoma.vm.provision.plan import MARK, READY_FILE, Plan

SCRIPTS = "scripts"
"""The step in which the user's scripts run, after all else."""
_ONE_SCRIPT = "script "
_LAST_LINES = 15


@dataclass(frozen=True, slots=True)
class Findings:
    """What the guest said of itself: its SSH host keys, as ``<type> <base64>``."""

    host_keys: tuple[str, ...]


@dataclass(slots=True)
class _Listener:
    """Reads the script's output as it comes. What a guest says is never more than text."""

    report: Report
    set_up: Callable[[Findings], None]
    step: str = "begin"
    ready: str = ""
    host_keys: tuple[str, ...] = ()
    last: tuple[str, ...] = ()
    _told: bool = False
    _open: bytes = b""

    def hear(self, stream: Stream, data: bytes) -> None:
        if stream == "stderr":
            self._keep(data)
            return
        *lines, self._open = (self._open + data).split(b"\n")
        for line in lines:
            self._line(line.decode("utf-8", "replace"))

    def is_set_up(self) -> None:
        """Hand on what was found, once."""
        if not self._told:
            self._told = True
            self.set_up(Findings(self.host_keys))

    def _line(self, line: str) -> None:
        match line.split(" ", 2):
            case [mark, "step", name] if mark == MARK:
                lap(f"guest: {self.step} done")
                self.step = name
                self.report(StepProgress(name))
                if name == SCRIPTS:
                    self.is_set_up()
            case [mark, "hostkey", key] if mark == MARK:
                self.host_keys = (*self.host_keys, key)
            case [mark, "ready", digest] if mark == MARK:
                self.ready = digest
            case _:
                self._keep(line.encode())

    def _keep(self, data: bytes) -> None:
        text = data.decode("utf-8", "replace").splitlines()
        self.last = (*self.last, *text)[-_LAST_LINES:]


async def provision(
    hypervisor: Hypervisor,
    vm: VmName,
    plan: Plan,
    *,
    deadline_s: float,
    report: Report,
    set_up: Callable[[Findings], None],
) -> None:
    """Run ``plan`` in ``vm``. Idempotent.

    ``set_up`` is called once, as soon as all is done but the user's own scripts.

    Raises:
        ProvisionFailed: a step failed; the message names it, details hold its last output.
        AgentError: the agent does not answer.
    """
    listener = _Listener(report, set_up)
    command = GuestCommand(plan.argv, stdin=plan.stdin, deadline_s=deadline_s)
    ended = await hypervisor.execute(vm, command, listener.hear)
    if ended.status != 0 or listener.ready != plan.digest:
        raise _failed(hypervisor, vm, listener, ended.status)
    listener.is_set_up()


def _failed(
    hypervisor: Hypervisor, vm: VmName, listener: _Listener, status: int
) -> ProvisionFailed:
    details = "\n".join(listener.last)
    if listener.step.startswith(_ONE_SCRIPT):
        return ProvisionFailed(
            f"{vm}: the provision {listener.step} failed",
            hint="correct it and spawn again; `tachikoma enter` goes into the VM as it is",
            details=details,
        )
    return ProvisionFailed(
        f"{vm}: the provisioning step {listener.step} failed (exit status {status})",
        hint="run it again; if it fails again, `tachikoma destroy` and spawn anew "
        f"(the console is in {hypervisor.log_of(vm)})",
        details=details,
    )


async def provisioned_with(hypervisor: Hypervisor, vm: VmName) -> str:
    """Give the digest of the plan with which this boot of ``vm`` was provisioned, "" if none."""
    command = GuestCommand(("/bin/cat", READY_FILE), deadline_s=10.0)
    ended = await hypervisor.execute(vm, command)
    return ended.stdout.decode("ascii", "replace").strip() if ended.status == 0 else ""
