"""The command lines of Tart (pure).

An empty option value would swallow the next argument, and what follows a VM's name in ``exec``
belongs to the guest: so no value here is ever empty, and ``exec`` names the VM after ``--``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum

from tachikoma.model.errors import UnsupportedError
from tachikoma.model.names import VmName
from tachikoma.model.vm import Launch, Mount, Network

TART = "tart"
GATEWAY = "192.168.64.1"
"""Where a guest on Tart's default network finds its host."""
SHARE_NAME = "share"
"""The directory within each share's mount root at which the host's directory is.

Tart gives every share that has a name a directory of that name; each share here has a tag, and so
a device, of its own, and one name does for all.
"""

_TAG = re.compile(r"[a-z0-9][a-z0-9._-]{0,35}")
_NO_DISPLAY = "none"


class Resolver(StrEnum):
    """How Tart finds out a guest's address."""

    DHCP = "dhcp"
    AGENT = "agent"
    ARP = "arp"


def version_argv() -> list[str]:
    """Ask for Tart's version."""
    return [TART, "--version"]


def list_argv() -> list[str]:
    """List VMs and images."""
    return [TART, "list", "--format", "json"]


def get_argv(vm: VmName) -> list[str]:
    """Describe one VM."""
    return [TART, "get", "--format", "json", vm]


def clone_argv(source: str, vm: VmName) -> list[str]:
    """Copy an image, or a VM. It replaces a VM of that name without asking."""
    return [TART, "clone", source, vm]


def renew_mac_argv(vm: VmName) -> list[str]:
    """Give a VM a MAC address that no other has."""
    return [TART, "set", vm, "--random-mac"]


def resources_argv(vm: VmName, *, cpus: int, memory_mib: int) -> list[str]:
    """Set a VM's processors and memory."""
    return [TART, "set", vm, "--cpu", str(cpus), "--memory", str(memory_mib)]


def run_argv(vm: VmName, launch: Launch) -> list[str]:
    """Run a VM until it ends.

    Raises:
        UnsupportedError: a directory cannot be shared because of its path.
    """
    return [
        *(TART, "run"),
        *(("--no-graphics",) if launch.display == _NO_DISPLAY else ()),
        *("--no-audio", "--no-clipboard"),
        *(_share(mount) for mount in launch.mounts),
        *_network(launch.network),
        vm,
    ]


def ip_argv(vm: VmName, *, wait_s: int, resolver: Resolver) -> list[str]:
    """Ask for a guest's address. Not finding one takes a second at least."""
    also = () if resolver is Resolver.DHCP else ("--resolver", resolver.value)
    return [TART, "ip", "--wait", str(wait_s), *also, vm]


def exec_argv(vm: VmName, command: Sequence[str], *, stdin: bool) -> list[str]:
    """Run a command in a guest by its agent."""
    return [TART, "exec", *(("-i",) if stdin else ()), "--", vm, *command]


def stop_argv(vm: VmName, *, timeout_s: int) -> list[str]:
    """Cut a VM's power; after ``timeout_s``, kill the process that runs it."""
    return [TART, "stop", "--timeout", str(timeout_s), vm]


def delete_argv(name: str) -> list[str]:
    """Remove a VM or an image."""
    return [TART, "delete", name]


def pull_argv(reference: str) -> list[str]:
    """Fetch an image from its registry."""
    return [TART, "pull", reference]


def push_argv(name: str, reference: str) -> list[str]:
    """Send an image or VM to a registry."""
    return [TART, "push", name, reference]


def fqn_argv(reference: str) -> list[str]:
    """Ask for the digest of an image that is here."""
    return [TART, "fqn", reference]


def _share(mount: Mount) -> str:
    path = str(mount.path)
    assert mount.path.is_absolute()
    assert _TAG.fullmatch(mount.tag), mount.tag
    if found := sorted(set(path) & set(":,\n")):
        raise UnsupportedError(
            f"Tart cannot share {path!r} with a VM: there is {found[0]!r} in its path",
            hint="move it, or set worktree_dir, to a path without ':' and ','",
        )
    return f"--dir={SHARE_NAME}:{path}:{'ro,' if mount.read_only else ''}tag={mount.tag}"


def _network(network: Network) -> tuple[str, ...]:
    """For a VM that may reach the proxy only, let Softnet drop all but what goes to the host."""
    match network:
        case Network.OPEN:
            return ()
        case Network.PROXY:
            return (
                *("--net-softnet-block", "0.0.0.0/0"),
                *("--net-softnet-allow", f"{GATEWAY}/32"),
            )
