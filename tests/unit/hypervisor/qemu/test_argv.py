from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from tachikoma.hypervisor.qemu.argv import (
    Accelerator,
    Flavour,
    Hardware,
    Share,
    Wiring,
    netdev,
    overlay_argv,
    qemu_argv,
    rom_argv,
    share_device,
    virtiofsd_argv,
)
from tachikoma.model.vm import Endpoint, Network

PROXY = Endpoint("127.0.0.1", 19280)
HARDWARE = Hardware(
    name="tachikoma-app-main",
    uuid="1-2-3",
    cpus=4,
    memory_mib=8192,
    mac="52:54:00:01:02:03",
    kernel=Path("/images/vmlinuz"),
    initrd=Path("/images/initrd.img"),
    cmdline="root=/dev/vda quiet",
    wiring=Wiring(network=Network.PROXY),
    monitor=Path("/run/m.sock"),
    agent=Path("/run/a.sock"),
    birth=Path("/run/b.sock"),
)
MEMORY = "/proc/self/fd/{memory}"


DISK = (
    '{"driver": "qcow2", "node-name": "disk", "discard": "unmap", "file": '
    '{"driver": "file", "filename": "disk.qcow2", "discard": "unmap"}}'
)


def options(argv: list[str], name: str) -> list[str]:
    return [value for flag, value in pairwise(argv) if flag == name]


def test_the_whole_command_line_of_a_machine_without_shares() -> None:
    slots = [
        part
        for slot in range(8)
        for part in (
            "-device",
            f"pcie-root-port,id=rp{slot},chassis={slot + 1},bus=pcie.0,addr={8 + slot:#x}",
        )
    ]
    assert qemu_argv("/usr/bin/qemu", HARDWARE) == [
        "/usr/bin/qemu",
        *("-name", "guest=tachikoma-app-main,debug-threads=on"),
        *("-uuid", "1-2-3"),
        *("-nodefaults", "-no-user-config"),
        *("-display", "none"),
        "-sandbox",
        "on,obsolete=deny,resourcecontrol=deny,elevateprivileges=deny,spawn=deny",
        *("-machine", "q35,memory-backend=mem"),
        *("-accel", "tcg,thread=multi", "-cpu", "max"),
        *("-smp", "cpus=4"),
        *("-m", "8192M"),
        "-object",
        f"memory-backend-file,id=mem,size=8192M,share=on,mem-path={MEMORY}",
        *("-kernel", "/images/vmlinuz"),
        *("-initrd", "/images/initrd.img"),
        *("-append", "root=/dev/vda quiet"),
        *("-chardev", "file,id=console,path=console.log,append=off"),
        *("-device", "isa-serial,chardev=console"),
        *("-chardev", "socket,id=monitor,fd={monitor},server=on,wait=off"),
        *("-mon", "chardev=monitor,mode=control"),
        *("-device", "virtio-serial-pci,id=channels,bus=pcie.0,addr=0x4"),
        *("-chardev", "socket,id=agent,path=/run/a.sock,server=on,wait=off"),
        "-device",
        "virtserialport,bus=channels.0,nr=1,chardev=agent,name=org.qemu.guest_agent.0",
        *("-chardev", "socket,id=birth,path=/run/b.sock,server=on,wait=off"),
        "-device",
        "virtserialport,bus=channels.0,nr=2,chardev=birth,name=org.tachikoma.birth",
        *("-blockdev", DISK),
        *("-device", "virtio-blk-pci,drive=disk,bus=pcie.0,addr=0x2"),
        *("-netdev", "user,id=net,ipv6=off,hostfwd=tcp:127.0.0.1:0-:22,restrict=on"),
        "-device",
        "virtio-net-pci,netdev=net,mac=52:54:00:01:02:03,romfile=,bus=pcie.0,addr=0x3",
        *("-device", "virtio-rng-pci,bus=pcie.0,addr=0x5"),
        *slots,
    ]


def test_shares_go_into_slots_that_are_there_in_any_case() -> None:
    shares = (Share("code", Path("/run/0.sock")), Share("git", Path("/run/1.sock")))
    bare = qemu_argv("qemu", HARDWARE)
    assert qemu_argv("qemu", replace(HARDWARE, shares=shares)) == [
        *bare,
        *("-chardev", "socket,id=share0,path=/run/0.sock"),
        *("-device", "vhost-user-fs-pci,chardev=share0,tag=code,bus=rp0,id=fs0"),
        *("-chardev", "socket,id=share1,path=/run/1.sock"),
        *("-device", "vhost-user-fs-pci,chardev=share1,tag=git,bus=rp1,id=fs1"),
    ]


def test_more_shares_than_slots_get_slots_of_their_own() -> None:
    shares = tuple(Share(f"s{n}", Path(f"/run/{n}")) for n in range(11))
    devices = options(qemu_argv("qemu", replace(HARDWARE, shares=shares)), "-device")
    assert sum(device.startswith("pcie-root-port") for device in devices) == 11
    assert devices[-1].endswith("tag=s10,bus=rp10,id=fs10")


def test_a_machine_that_waits_for_a_saved_state_gets_its_shares_afterwards() -> None:
    shares = (Share("code", Path("/run/0.sock")),)
    waiting = replace(HARDWARE, shares=shares, incoming=True)
    assert qemu_argv("qemu", waiting) == [*qemu_argv("qemu", HARDWARE), "-S", "-incoming", "defer"]


def test_a_share_that_is_plugged_in_is_the_device_that_a_boot_would_have_found() -> None:
    share = Share("code", Path("/run/0,1.sock"))
    chardev, device = share_device(3, share)
    assert chardev == {
        "id": "share3",
        "backend": {
            "type": "socket",
            "data": {"addr": {"type": "unix", "data": {"path": "/run/0,1.sock"}}, "server": False},
        },
    }
    cold = options(qemu_argv("qemu", replace(HARDWARE, shares=(share,) * 4)), "-device")[-1]
    driver, *rest = cold.split(",")
    assert device == {"driver": driver} | dict(each.split("=") for each in rest)


def test_a_comma_in_a_path_is_no_end_of_it() -> None:
    odd = replace(HARDWARE, agent=Path("/run/a,b/m"), shares=(Share("t", Path("/x,y")),))
    argv = qemu_argv("qemu", odd)
    assert "socket,id=agent,path=/run/a,,b/m,server=on,wait=off" in argv
    assert "socket,id=share0,path=/x,,y" in argv


def test_hardware_virtualisation_is_used_when_told() -> None:
    argv = qemu_argv("qemu", replace(HARDWARE, accelerator=Accelerator.KVM))
    assert options(argv, "-accel") == ["kvm"]
    assert options(argv, "-cpu") == ["max"]


def test_only_a_way_to_the_proxy_lets_qemu_start_programs() -> None:
    wired = replace(HARDWARE, wiring=Wiring(Network.PROXY, PROXY, "/usr/bin/socat"))
    assert options(qemu_argv("qemu", wired), "-sandbox") == [
        "on,obsolete=deny,resourcecontrol=deny"
    ]


def test_the_proxy_network_reaches_the_proxy_and_nothing_else() -> None:
    assert netdev(Wiring(Network.PROXY, PROXY, "/usr/bin/socat")) == (
        "user,id=net,ipv6=off,hostfwd=tcp:127.0.0.1:0-:22,restrict=on,"
        "guestfwd=tcp:10.0.2.100:19280-"
        "cmd:/usr/bin/socat -t 300 FD:0,,shut-down TCP4:127.0.0.1:19280"
    )


def test_the_open_network_has_the_proxy_at_the_same_address() -> None:
    assert netdev(Wiring(Network.OPEN, PROXY, "socat")) == (
        "user,id=net,ipv6=off,hostfwd=tcp:127.0.0.1:0-:22,"
        "guestfwd=tcp:10.0.2.100:19280-cmd:socat -t 300 FD:0,,shut-down TCP4:127.0.0.1:19280"
    )


@pytest.mark.parametrize(
    ("bound", "reached"),
    [
        ("0.0.0.0", "TCP4:127.0.0.1:80"),
        ("::", "TCP6:[::1]:80"),
        ("::1", "TCP6:[::1]:80"),
        ("192.0.2.7", "TCP4:192.0.2.7:80"),
    ],
)
def test_a_proxy_is_reached_where_it_is_bound(bound: str, reached: str) -> None:
    assert netdev(Wiring(Network.PROXY, Endpoint(bound, 80), "socat")).endswith(f" {reached}")


def test_the_daemon_in_c() -> None:
    assert virtiofsd_argv("/v", Flavour.C, Path("/a,b\\c")) == [
        *("/v", "--fd={fd}", "--rlimit-nofile=0"),
        *("-o", "source=/a\\,b\\\\c"),
        *("-o", "cache=auto"),
        *("-o", "sandbox=chroot"),
        *("-o", "log_level=warn"),
    ]


def test_the_daemon_in_rust() -> None:
    assert virtiofsd_argv("/v", Flavour.RUST, Path("/a,b")) == [
        *("/v", "--fd={fd}", "--rlimit-nofile=0"),
        *("--shared-dir=/a,b", "--cache=auto"),
        *("--sandbox=chroot", "--inode-file-handles=never", "--log-level=warn"),
    ]


def test_no_daemon_is_told_a_relative_directory() -> None:
    with pytest.raises(AssertionError):
        virtiofsd_argv("/v", Flavour.C, Path())


def test_an_overlay() -> None:
    assert overlay_argv("qemu-img", Path("/i m/disk"), Path("/v/disk")) == [
        *("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2"),
        *("-b", "/i m/disk", "/v/disk"),
    ]


def test_a_firmware() -> None:
    assert rom_argv("qemu", Accelerator.KVM, Path("/tmp/rom")) == [
        *("qemu", "-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35"),
        *("-accel", "kvm", "-cpu", "max", "-m", "32M", "-bios", "/tmp/rom"),
        *("-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"),
    ]
