"""What this machine has of what QEMU takes, as data for `tachikoma doctor`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tachikoma.host import process
from tachikoma.hypervisor.qemu import kvm, shares
from tachikoma.model.checks import Check
from tachikoma.model.errors import CommandFailed, HypervisorMissingError, MissingToolError

QEMU = "qemu-system-x86_64"
_VERSION_S = 5.0
_ALLOW_NAMESPACES = (
    "allow this user to make user namespaces (on Ubuntu, as root: "
    "sysctl kernel.apparmor_restrict_unprivileged_userns=0)"
)
LAUNCHER = Path(__file__).with_name("launch.py")
PACKAGES = {
    QEMU: "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "socat": "socat",
    "virtiofsd": "virtiofsd (Debian 13, Ubuntu 24.04) or qemu-system-common (Debian 12)",
    "newuidmap": "uidmap",
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
}
_WHAT_FOR = {
    QEMU: "runs the VMs",
    "qemu-img": "makes their disks",
    "socat": "leads from a VM to the credential proxy",
    "mmdebstrap": "builds images",
    "mke2fs": "builds images",
}


def program(name: str) -> str:
    """Give the path of a program that the engine takes.

    Raises:
        HypervisorMissingError: it is not installed; the hint names its package.
    """
    found = process.which(name, also=(f"/usr/sbin/{name}", f"/sbin/{name}"))
    if found is None:
        raise HypervisorMissingError(
            f"the program {name} is not installed",
            hint=f"install the package {PACKAGES.get(name, name)}",
        )
    return found


async def checks(cache: Path) -> list[Check]:
    """Look at everything the engine takes; ``cache`` is where the verdict on KVM is kept."""
    return [
        *[await _program_check(name) for name in _WHAT_FOR],
        await _virtiofsd_check(),
        await _namespace_check(),
        await _kvm_check(cache),
    ]


async def _program_check(name: str) -> Check:
    try:
        path = program(name)
    except HypervisorMissingError as error:
        return Check(name, ok=False, found="missing", why=_WHAT_FOR[name], fix=error.hint)
    return Check(name, ok=True, found=await _version(path), why=_WHAT_FOR[name])


async def _virtiofsd_check() -> Check:
    why = "shares the worktree with its VM"
    try:
        daemon = shares.find_virtiofsd()
    except MissingToolError as error:
        return Check("virtiofsd", ok=False, found="missing", why=why, fix=error.hint)
    found = f"{daemon.program} ({daemon.flavour.value})"
    return Check("virtiofsd", ok=True, found=found, why=why)


async def _namespace_check() -> Check:
    name, why = "user namespace", "keeps the files in a worktree yours"
    try:
        maps = shares.id_maps()
    except MissingToolError as error:
        return Check(name, ok=False, found=error.message, why=why, fix=error.hint)
    text = json.dumps({"uid_map": maps.uid, "gid_map": maps.gid, "id_tools": maps.tools})
    try:
        await process.run(
            [sys.executable, "-I", "-S", str(LAUNCHER), "--check", text], deadline_s=_VERSION_S
        )
    except CommandFailed as error:
        return Check(
            name,
            ok=False,
            found=error.stderr or error.message,
            why=why,
            fix=_ALLOW_NAMESPACES,
        )
    return Check(name, ok=True, found=f"the guest's root is id {maps.uid[0][1]} here", why=why)


async def _kvm_check(cache: Path) -> Check:
    why = "makes VMs fast; without it they run emulated"
    try:
        found = await kvm.verdict(program(QEMU), cache)
    except HypervisorMissingError as error:
        return Check("KVM", ok=False, found="QEMU is missing", why=why, fix=error.hint)
    if found.usable:
        return Check("KVM", ok=True, found="a guest runs", why=why, required=False)
    return Check("KVM", ok=False, found=found.why, why=why, required=False)


async def _version(path: str) -> str:
    """Give the first line of what a program says about its version, or else its path."""
    flag = "-V" if Path(path).name in ("socat", "mke2fs") else "--version"
    try:
        ended = await process.run([path, flag], deadline_s=_VERSION_S, check=False)
    except CommandFailed:
        return path
    lines = (ended.stdout or ended.stderr).decode("utf-8", "replace").splitlines()
    telling = [line for line in lines if any(letter.isdigit() for letter in line)]
    return telling[0].strip() if telling else path
