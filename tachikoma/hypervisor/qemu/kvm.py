"""Whether hardware virtualisation really works here: only a guest that has run proves it.

``/dev/kvm`` can be there, open and make a VM, and yet no guest ever runs an instruction in it
(nested virtualisation without hardware support does that); QEMU then hangs or aborts. So a tiny
firmware is run: it writes to a port at which QEMU has a device that ends it. The verdict is kept
for as long as nothing changes that it depends on.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from tachikoma.host import files, process
from tachikoma.hypervisor.qemu.argv import Accelerator, rom_argv
from tachikoma.hypervisor.qemu.machine import boot_id
from tachikoma.model.errors import CommandFailed, HostError

DEVICE = Path("/dev/kvm")
_PROBE_S = 2.0
_PROVEN = (0x10 << 1) | 1
"""The exit status of isa-debug-exit after 0x10 was written to it."""
_ROM_SIZE = 64 << 10
# The processor starts 16 bytes before the end of the firmware:
#   mov dx, 0xf4; mov al, 0x10; out dx, al; hlt; jmp back to hlt
_RESET = bytes.fromhex("ba f4 00 b0 10 ee f4 eb fd")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known about hardware virtualisation; ``why`` explains a no."""

    usable: bool
    why: str = ""

    @property
    def accelerator(self) -> Accelerator:
        """What to run guests with."""
        return Accelerator.KVM if self.usable else Accelerator.TCG


def rom() -> bytes:
    """Give the firmware that ends QEMU with ``_PROVEN`` as soon as it runs (pure)."""
    return _RESET.rjust(_ROM_SIZE - 16 + len(_RESET), b"\xf4").ljust(_ROM_SIZE, b"\xf4")


async def verdict(program: str, cache: Path) -> Verdict:
    """Tell whether KVM runs guests of ``program``; asks a guest only if ``cache`` does not know."""
    if not DEVICE.exists():
        return Verdict(usable=False, why=f"{DEVICE} is not there")
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        return Verdict(
            usable=False, why=f"this user may not use {DEVICE} (the group kvm usually may)"
        )
    key = _key(program)
    if (known := _cached(cache, key)) is not None:
        return known
    found = await runs_a_guest(program, Accelerator.KVM)
    with contextlib.suppress(HostError):  # it is only a cache
        text = json.dumps({"key": key, "verdict": asdict(found)})
        files.write_atomically(cache, text.encode())
    return found


async def runs_a_guest(program: str, accelerator: Accelerator) -> Verdict:
    """Run the firmware and tell whether it got as far as its third instruction."""
    with tempfile.NamedTemporaryFile(prefix="tachikoma-rom-") as file:
        file.write(rom())
        file.flush()
        try:
            ended = await process.run(
                rom_argv(program, accelerator, Path(file.name)), deadline_s=_PROBE_S, check=False
            )
        except CommandFailed:
            return Verdict(
                usable=False, why=f"a guest did not run one instruction in {_PROBE_S:g} s"
            )
    if ended.status == _PROVEN:
        return Verdict(usable=True)
    said = ended.stderr.decode("utf-8", "replace").strip().splitlines()
    return Verdict(usable=False, why=said[-1] if said else f"QEMU ended with {ended.status}")


def _key(program: str) -> str:
    """What a verdict depends on: this QEMU, this kernel, this boot."""
    seen = Path(program).stat()
    return f"{program} {seen.st_size} {seen.st_mtime_ns} {platform.release()} {boot_id()}"


def _cached(cache: Path, key: str) -> Verdict | None:
    try:
        raw = json.loads(cache.read_bytes())
        if raw["key"] != key:
            return None
        return Verdict(usable=bool(raw["verdict"]["usable"]), why=str(raw["verdict"]["why"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
