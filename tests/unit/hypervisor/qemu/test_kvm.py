from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tachikoma.host import process
from tachikoma.hypervisor.qemu.argv import Accelerator
from tachikoma.hypervisor.qemu.kvm import DEVICE, Verdict, rom, runs_a_guest, verdict

QEMU = process.which("qemu-system-x86_64") or ""
needs_qemu = pytest.mark.skipif(not QEMU, reason="qemu-system-x86_64 is not installed")


def test_the_firmware_starts_where_the_processor_does() -> None:
    firmware = rom()
    assert len(firmware) == 64 << 10
    assert firmware[-16:-7] == bytes.fromhex("baf400b010eef4ebfd")


def test_a_verdict_names_what_runs_guests() -> None:
    assert Verdict(usable=True).accelerator is Accelerator.KVM
    assert Verdict(usable=False, why="x").accelerator is Accelerator.TCG


@pytest.mark.live
@needs_qemu
async def test_a_guest_that_runs_is_seen_to_run() -> None:
    assert await runs_a_guest(QEMU, Accelerator.TCG) == Verdict(usable=True)


@pytest.mark.live
async def test_a_program_that_ends_some_other_way_ran_no_guest() -> None:
    assert not (await runs_a_guest("/bin/false", Accelerator.KVM)).usable


@pytest.mark.live
@needs_qemu
async def test_a_verdict_is_kept_for_as_long_as_nothing_changes(tmp_path: Path) -> None:
    cache = tmp_path / "kvm.json"
    first = await verdict(QEMU, cache)
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        assert not first.usable
        assert not cache.exists()
        return
    kept = json.loads(cache.read_bytes())
    assert kept["verdict"] == {"usable": first.usable, "why": first.why}
    cache.write_text(json.dumps(kept | {"verdict": {"usable": False, "why": "kept"}}))
    assert await verdict(QEMU, cache) == Verdict(usable=False, why="kept")
    cache.write_text(json.dumps(kept | {"key": "another boot"}))
    assert await verdict(QEMU, cache) == first
