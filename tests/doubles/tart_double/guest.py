"""`tart exec`: a command by way of the agent in the guest."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from tests.doubles.tart_double.commands import Call
from tests.doubles.tart_double.contract import Fail, error_of, not_running
from tests.doubles.tart_double.store import Store, lock_owner

if TYPE_CHECKING:
    from tachikoma.hypervisor.qemu.engine import Qemu
    from tachikoma.model.vm import Stream

_POOL_S = 30.0
_POLL_S = 0.2
_NO_LIMIT_S = 3600.0
_BY_SIGNAL = 255
_NOT_NORMAL = b"did not exit normally"
_NOT_FOUND = b"setpriv: failed to execute "
_SUDO = ("sudo", "-n", "--")
_POWER_OFF = ("systemctl", "poweroff")


def engine(store: Store) -> Qemu:
    """Give the engine that runs the guests of ``store``."""
    from pathlib import Path

    from tachikoma.host.clock import SystemClock
    from tachikoma.hypervisor.qemu.engine import Qemu

    data = store.own / "qemu"
    data.mkdir(mode=0o700, exist_ok=True)
    if not (data / "images").exists():
        (data / "images").symlink_to(Path(store.settings["images"]))
    return Qemu(data=data, runtime=store.own / "r", clock=SystemClock(), snapshots=False)


def execute(call: Call) -> int:
    name, *command = call.words
    place = call.store.vm(name)
    owner = lock_owner(place)
    if owner is None:
        raise not_running(name)
    signal.signal(signal.SIGINT, _cancelled)
    given = sys.stdin.buffer.read() if call.option("-i") else b""
    if call.option("-t") and not sys.stdout.isatty():
        sys.stderr.write(f"{error_of('exec', 'tty_crash')['example']}\n")
        sys.stderr.flush()
        os.kill(os.getpid(), signal.SIGTRAP)
    if call.store.settings.get("guest") == "pretended":
        _connect(call, lambda: _listens(str(place / "control.sock")))
        return _pretend(command, given, owner)
    return asyncio.run(_for_real(call, name, command, given))


def _cancelled(*_: object) -> None:
    sys.stderr.write("Error: CancellationError()\n")
    sys.stderr.flush()
    os._exit(1)


def _listens(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
    return True


def _connect(call: Call, answers: object) -> None:
    settings = call.store.settings
    end = time.monotonic() + settings.get("agent_wait_s", _POOL_S)
    assert callable(answers)
    while settings.get("deaf") or not answers():
        if time.monotonic() > end:
            raise Fail(1, error_of("exec", "agent_unreachable")["example"])
        time.sleep(_POLL_S)
        settings = call.store.settings


def _pretend(command: list[str], given: bytes, owner: int) -> int:
    """Run a command on this host; only switching the machine off means the guest."""
    words = command[len(_SUDO) :] if tuple(command[: len(_SUDO)]) == _SUDO else command
    if tuple(words) == _POWER_OFF:
        os.kill(owner, signal.SIGUSR2)
        return 0
    try:
        with subprocess.Popen(words, stdin=subprocess.PIPE, cwd="/") as process:
            process.communicate(given)
    except FileNotFoundError:
        raise _no_program(words[0]) from None
    return process.returncode if process.returncode >= 0 else _BY_SIGNAL


def _no_program(name: str) -> Fail:
    return Fail(1, f'Error: unknown (2): exec: "{name}": executable file not found in $PATH')


async def _for_real(call: Call, name: str, command: list[str], given: bytes) -> int:
    from tachikoma.model.errors import AgentError, VmNotRunningError
    from tachikoma.model.names import VmName
    from tachikoma.model.vm import GuestCommand

    qemu, vm = engine(call.store), VmName(name)
    end = time.monotonic() + call.store.settings.get("agent_wait_s", _POOL_S)
    while call.store.settings.get("deaf") or not await qemu.agent_ready(vm):
        if time.monotonic() > end:
            raise Fail(1, error_of("exec", "agent_unreachable")["example"])
        await asyncio.sleep(_POLL_S)
    stderr = b""

    def hand_on(stream: Stream, piece: bytes) -> None:
        nonlocal stderr
        if stream == "stderr":
            stderr = (stderr + piece)[-4096:]
        where = sys.stdout if stream == "stdout" else sys.stderr
        where.buffer.write(piece)
        where.buffer.flush()

    asked = GuestCommand(tuple(command), user="admin", stdin=given, deadline_s=_NO_LIMIT_S)
    with contextlib.suppress(BrokenPipeError):
        try:
            ended = await qemu.execute(vm, asked, hand_on)
        except (AgentError, VmNotRunningError):
            raise Fail(1, "Error: unavailable (14)") from None
        if ended.status == 127 and _NOT_FOUND in stderr:
            raise _no_program(command[0])
        return _BY_SIGNAL if _NOT_NORMAL in stderr else ended.status
    return _BY_SIGNAL
