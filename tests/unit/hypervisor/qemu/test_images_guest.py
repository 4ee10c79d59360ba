from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tachikoma.hypervisor.qemu import images_guest as guest

FILES = {file.path: file for file in guest.files()}


def text(path: str) -> str:
    found = FILES[path].text
    assert found is not None
    return found


def test_no_path_is_laid_twice_or_leaves_the_root() -> None:
    assert len(FILES) == len(guest.files())
    assert not [path for path in FILES if path.startswith("/") or ".." in path.split("/")]


def test_what_starts_early_is_not_masked() -> None:
    for unit in ("ssh", "qemu-guest-agent", "network-address"):
        assert "WantedBy=sysinit.target" in text(f"etc/systemd/system/{unit}.service")
        assert "DefaultDependencies=no" in text(f"etc/systemd/system/{unit}.service")


def test_every_program_that_a_unit_starts_is_laid_executable_or_from_a_package() -> None:
    for file in guest.files():
        for line in (file.text or "").splitlines():
            name, _, command = line.partition("=")
            if name in {"ExecStart", "ExecStartPre"} and "/usr/local/" in command:
                assert FILES[command.lstrip("-/")].mode == 0o755


def test_sshd_takes_keys_only_and_no_environment() -> None:
    lines = text("etc/ssh/sshd_config").splitlines()
    assert {
        "HostKey /etc/ssh/ssh_host_ed25519_key",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "PermitRootLogin no",
        "PermitUserEnvironment no",
        "UseDNS no",
    } <= set(lines)
    assert not [line for line in lines if line.startswith("AcceptEnv")]


def test_nothing_in_the_image_tells_two_guests_apart() -> None:
    assert text("etc/machine-id") == ""
    assert "/etc/ssh/ssh_host_*" in guest.SETUP
    assert "random-seed" in guest.SETUP


def test_the_drivers_that_a_boot_waits_for_are_in_the_initrd() -> None:
    (initramfs,) = guest.EARLY_FILES
    assert initramfs.text is not None
    for driver in ("virtio_pci", "virtio_blk", "virtio_net", "virtio_console"):
        assert driver in initramfs.text


@pytest.mark.parametrize(("architecture", "console"), [("amd64", "ttyS0"), ("arm64", "ttyAMA0")])
def test_kernel_and_console_follow_the_architecture(architecture: str, console: str) -> None:
    assert f"linux-image-cloud-{architecture}" in guest.packages(architecture)
    assert f" console={console} " in guest.kernel_cmdline(architecture)
    assert f"serial-getty@{console}.service" in str(FILES)


def test_more_packages_are_added_to_ours() -> None:
    ours = guest.packages("amd64")
    assert guest.packages("amd64", ("build-essential",)) == (*ours, "build-essential")


def test_files_are_laid_with_their_modes_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        guest.lay(tmp_path, guest.files())
    finally:
        os.umask(before)
    for file in guest.files():
        path = tmp_path / file.path
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755
        if file.text is None:
            assert path.readlink() == Path("/dev/null")
        else:
            assert path.read_text(encoding="utf-8") == file.text
            assert stat.S_IMODE(path.stat().st_mode) == file.mode
