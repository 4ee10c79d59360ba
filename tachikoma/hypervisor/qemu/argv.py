"""The command lines of QEMU and its companions (pure).

The device layout is fixed: every device sits at a place of its own on the PCI bus, and shares
go into hot-plug slots that are there whether used or not. Two starts of one machine therefore
look the same to the guest whatever is mounted.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from tachikoma.model.vm import Endpoint, Network

GUEST_PROXY_HOST = "10.0.2.100"
"""Where guests find the credential proxy: an address that QEMU itself answers."""
MEMORY = "/proc/self/fd/{memory}"
"""The guest's memory; the launcher puts the number of its memfd there."""
BIRTH_PORT = "org.tachikoma.birth"
"""Where a machine restored from a snapshot is told who it is."""
SHARE_SLOTS = 8
MOST_SHARES = 20
DEFAULT_CMDLINE = "root=/dev/vda rw console=ttyS0 net.ifnames=0 quiet systemd.show_status=0"

_FIRST_SLOT = 0x8
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  recognised, never bound
# How long socat keeps one direction open after the other has ended. Its own half second would
# cut off a client that closes its sending side and then waits for a slow answer. Its standard
# input and output are one socket here: it must be told so (FD:0), and to pass the end on in one
# direction (shut-down), or the guest would see the end of an answer only when socat gives up.
_SOCAT_LINGER_S = 300


class Accelerator(StrEnum):
    """What runs the guest's instructions: the processor, or an emulation of one."""

    KVM = "kvm"
    TCG = "tcg"


class Flavour(StrEnum):
    """Which virtiofsd: the one in C that QEMU brought up to 7, or its successor in Rust."""

    C = "c"
    RUST = "rust"


@dataclass(frozen=True, slots=True)
class Share:
    """A share as the guest sees it, and the socket of its virtiofsd."""

    tag: str
    socket: Path


@dataclass(frozen=True, slots=True)
class Wiring:
    """How the guest's network card is wired: what it reaches, and the proxy if there is one.

    ``socat`` is needed only with a proxy.
    """

    network: Network
    proxy: Endpoint | None = None
    socat: str = "socat"


@dataclass(frozen=True, slots=True)
class Hardware:
    """All that the command line of QEMU depends on; file names are relative to its directory."""

    name: str
    uuid: str
    cpus: int
    memory_mib: int
    mac: str
    kernel: Path
    initrd: Path
    cmdline: str
    wiring: Wiring
    monitor: Path
    agent: Path
    birth: Path
    shares: tuple[Share, ...] = ()
    incoming: bool = False
    """Wait, paused, for a saved state in place of booting; shares are plugged in afterwards."""
    accelerator: Accelerator = Accelerator.TCG
    disk: str = "disk.qcow2"
    console: str = "console.log"


def qemu_argv(program: str, hardware: Hardware) -> list[str]:
    """Give the command line that runs ``hardware``."""
    return [
        program,
        *("-name", f"guest={_escaped(hardware.name)},debug-threads=on"),
        *("-uuid", hardware.uuid),
        *("-nodefaults", "-no-user-config"),
        *("-display", "none"),
        *("-sandbox", _sandbox(hardware.wiring)),
        *_processor(hardware),
        *_boot(hardware),
        *_channels(hardware),
        *_disk(hardware),
        *_card(hardware),
        *("-device", "virtio-rng-pci,bus=pcie.0,addr=0x5"),
        *_slots(hardware.shares),
        *(("-S", "-incoming", "defer") if hardware.incoming else _shares(hardware.shares)),
    ]


def virtiofsd_argv(program: str, flavour: Flavour, directory: Path) -> list[str]:
    """Give the command line that shares ``directory`` on the listening socket ``{fd}``.

    ``directory`` must be absolute: the one in C goes to ``/`` before it looks.
    """
    assert directory.is_absolute()
    match flavour:
        case Flavour.C:
            return [
                program,
                *("--fd={fd}", "--rlimit-nofile=0"),
                *("-o", f"source={_escaped_for_fuse(directory)}"),
                *("-o", "cache=auto"),
                *("-o", "sandbox=chroot"),
                *("-o", "log_level=warn"),
            ]
        case Flavour.RUST:
            return [
                program,
                *("--fd={fd}", "--rlimit-nofile=0"),
                *(f"--shared-dir={directory}", "--cache=auto"),
                *("--sandbox=chroot", "--inode-file-handles=never", "--log-level=warn"),
            ]


def overlay_argv(program: str, backing: Path, overlay: Path) -> list[str]:
    """Give the command line that makes a disk which differs from ``backing`` in nothing yet."""
    return [
        program,
        *("create", "-q"),
        *("-f", "qcow2"),
        *("-F", "qcow2"),
        *("-b", str(backing)),
        str(overlay),
    ]


def rom_argv(program: str, accelerator: Accelerator, rom: Path) -> list[str]:
    """Give the command line that runs the firmware ``rom``, which ends QEMU by itself."""
    return [
        program,
        *("-nodefaults", "-no-user-config"),
        *("-display", "none"),
        *("-machine", "q35"),
        *_engine(accelerator),
        *("-m", "32M"),
        *("-bios", str(rom)),
        *("-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"),
    ]


def _engine(accelerator: Accelerator) -> list[str]:
    how = "kvm" if accelerator is Accelerator.KVM else "tcg,thread=multi"
    return ["-accel", how, "-cpu", "max"]


def _sandbox(wiring: Wiring) -> str:
    """Give the system calls that QEMU denies itself.

    The way to the proxy is a socat for each connection: QEMU forks, and calls setsid there, which
    elevateprivileges=deny forbids together with setuid. What that would have kept from gaining
    privileges is kept from it by no_new_privs, which the launcher sets.
    """
    denied = "on,obsolete=deny,resourcecontrol=deny"
    return denied if wiring.proxy else f"{denied},elevateprivileges=deny,spawn=deny"


def _processor(hardware: Hardware) -> list[str]:
    size = f"{hardware.memory_mib}M"
    return [
        *("-machine", "q35,memory-backend=mem"),
        *_engine(hardware.accelerator),
        *("-smp", f"cpus={hardware.cpus}"),
        *("-m", size),
        # Shared with the virtiofsd daemons; takes host memory only as the guest uses it. It is a
        # memfd of the launcher's, opened by a name: only memory with a name can stay behind when
        # a machine's state is saved, and it may hold a saved memory before QEMU begins.
        *("-object", f"memory-backend-file,id=mem,size={size},share=on,mem-path={MEMORY}"),
    ]


def _boot(hardware: Hardware) -> list[str]:
    return [
        *("-kernel", str(hardware.kernel)),
        *("-initrd", str(hardware.initrd)),
        *("-append", hardware.cmdline),
        *("-chardev", f"file,id=console,path={_escaped(hardware.console)},append=off"),
        *("-device", "isa-serial,chardev=console"),
    ]


def _channels(hardware: Hardware) -> list[str]:
    """The monitor, on which the launcher listens already, and two lines into the guest."""
    agent = "virtserialport,bus=channels.0,nr=1,chardev=agent,name=org.qemu.guest_agent.0"
    birth = f"virtserialport,bus=channels.0,nr=2,chardev=birth,name={BIRTH_PORT}"
    return [
        *("-chardev", "socket,id=monitor,fd={monitor},server=on,wait=off"),
        *("-mon", "chardev=monitor,mode=control"),
        *("-device", "virtio-serial-pci,id=channels,bus=pcie.0,addr=0x4"),
        *("-chardev", f"socket,id=agent,path={_escaped(hardware.agent)},server=on,wait=off"),
        *("-device", agent),
        *("-chardev", f"socket,id=birth,path={_escaped(hardware.birth)},server=on,wait=off"),
        *("-device", birth),
    ]


def _disk(hardware: Hardware) -> list[str]:
    node = {
        "driver": "qcow2",
        "node-name": "disk",
        "discard": "unmap",
        "file": {"driver": "file", "filename": hardware.disk, "discard": "unmap"},
    }
    return [
        *("-blockdev", json.dumps(node)),
        *("-device", "virtio-blk-pci,drive=disk,bus=pcie.0,addr=0x2"),
    ]


def _card(hardware: Hardware) -> list[str]:
    return [
        *("-netdev", netdev(hardware.wiring)),
        *("-device", f"virtio-net-pci,netdev=net,mac={hardware.mac},romfile=,bus=pcie.0,addr=0x3"),
    ]


def netdev(wiring: Wiring) -> str:
    """Give the network behind the guest's card: SSH comes in, and only what is allowed goes out.

    The kernel chooses the host's port for SSH, so no two VMs can be given the same.
    """
    parts = ["user", "id=net", "ipv6=off", "hostfwd=tcp:127.0.0.1:0-:22"]
    if wiring.network is Network.PROXY:
        parts.append("restrict=on")
    if wiring.proxy is not None:
        host = _WILDCARDS.get(wiring.proxy.host, wiring.proxy.host)
        kind = "TCP6" if ":" in host else "TCP4"
        target = f"{kind}:{Endpoint(host, wiring.proxy.port)}"
        command = f"{wiring.socat} -t {_SOCAT_LINGER_S} FD:0,shut-down {target}"
        parts.append(f"guestfwd=tcp:{GUEST_PROXY_HOST}:{wiring.proxy.port}-cmd:{_escaped(command)}")
    return ",".join(parts)


def _slots(shares: Sequence[Share]) -> list[str]:
    return [
        part
        for slot in range(max(SHARE_SLOTS, len(shares)))
        for part in ("-device", f"pcie-root-port,id=rp{slot},chassis={slot + 1},{_place(slot)}")
    ]


def _shares(shares: Sequence[Share]) -> list[str]:
    return [
        part
        for slot, share in enumerate(shares)
        for part in (
            *("-chardev", f"socket,id=share{slot},path={_escaped(share.socket)}"),
            *("-device", f"vhost-user-fs-pci,chardev=share{slot},tag={share.tag},{_slot(slot)}"),
        )
    ]


def share_device(slot: int, share: Share) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give what ``chardev-add`` and ``device_add`` take to plug ``share`` in while a VM runs."""
    address = {"type": "unix", "data": {"path": str(share.socket)}}
    backend = {"type": "socket", "data": {"addr": address, "server": False}}
    device = {"driver": "vhost-user-fs-pci", "chardev": f"share{slot}", "tag": share.tag}
    return (
        {"id": f"share{slot}", "backend": backend},
        device | {"bus": f"rp{slot}", "id": f"fs{slot}"},
    )


def _slot(slot: int) -> str:
    return f"bus=rp{slot},id=fs{slot}"


def _place(slot: int) -> str:
    return f"bus=pcie.0,addr={_FIRST_SLOT + slot:#x}"


def _escaped(value: object) -> str:
    """Give a value as QEMU's option syntax wants it: a comma in it is written twice."""
    return str(value).replace(",", ",,")


def _escaped_for_fuse(value: object) -> str:
    return str(value).replace("\\", "\\\\").replace(",", "\\,")
