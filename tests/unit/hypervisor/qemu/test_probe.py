from __future__ import annotations

from pathlib import Path

import pytest

from tachikoma.hypervisor.qemu.probe import PACKAGES, checks, program
from tachikoma.model.errors import HypervisorMissingError


def test_a_missing_program_comes_with_its_package(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(own_home))
    with pytest.raises(HypervisorMissingError, match="qemu-system-x86_64") as caught:
        program("qemu-system-x86_64")
    assert caught.value.hint == "install the package qemu-system-x86"


def test_a_program_is_found_on_the_path(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(own_home))
    (own_home / "socat").write_text("#!/bin/sh\n")
    (own_home / "socat").chmod(0o755)
    assert program("socat") == str(own_home / "socat")


@pytest.mark.live
async def test_every_check_says_what_it_is_for_and_what_mends_it(tmp_path: Path) -> None:
    found = await checks(tmp_path / "kvm.json")
    assert [check.name for check in found] == [
        *("qemu-system-x86_64", "qemu-img", "socat", "mmdebstrap", "mke2fs"),
        *("virtiofsd", "user namespace", "KVM"),
    ]
    assert all(check.why for check in found)
    assert all(check.found for check in found)
    assert all(check.ok or check.fix for check in found if check.required)


@pytest.mark.live
async def test_a_bare_machine_lacks_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = {check.name: check for check in await checks(tmp_path / "kvm.json")}
    assert not found["qemu-img"].ok
    assert found["qemu-img"].fix == f"install the package {PACKAGES['qemu-img']}"
    assert not found["KVM"].ok
