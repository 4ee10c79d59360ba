"""Shared directories: which virtiofsd there is, and who its files belong to.

A virtiofsd hands user ids through as they are. It therefore runs in a user namespace (see
``launch``) in which the guest's ``admin`` is the user who runs tachikoma, and the guest's root
an id that owns nothing on this host: one of those that /etc/subuid lends to the user.
"""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tachikoma.host import process
from tachikoma.hypervisor.qemu.argv import MOST_SHARES, Flavour, virtiofsd_argv
from tachikoma.model.errors import HypervisorError, MissingToolError, UnsupportedError
from tachikoma.model.vm import Mount

GUEST_USER_ID = 1000
"""The id of ``admin`` in every image."""

_FALLBACK_ROOT_ID = 100_000
_RUST_PATHS = ("/usr/libexec/virtiofsd", "/usr/lib/virtiofsd")
_C_PATHS = ("/usr/lib/qemu/virtiofsd",)
_SUBIDS = {"uid": Path("/etc/subuid"), "gid": Path("/etc/subgid")}

IdMap = list[list[int]]


@dataclass(frozen=True, slots=True)
class Virtiofsd:
    """The daemon that shares a directory."""

    program: str
    flavour: Flavour


@dataclass(frozen=True, slots=True)
class IdMaps:
    """Lines of inside, outside, count; ``tools``: newuidmap and newgidmap have to write them."""

    uid: IdMap
    gid: IdMap
    tools: bool


def find_virtiofsd() -> Virtiofsd:
    """Find the daemon; the one in Rust is taken where both are there.

    Raises:
        MissingToolError: there is none.
    """
    for paths, flavour in ((_RUST_PATHS, Flavour.RUST), (_C_PATHS, Flavour.C)):
        for path in paths:
            if os.access(path, os.X_OK):
                return Virtiofsd(path, flavour)
    if (found := process.which("virtiofsd")) is not None:
        return Virtiofsd(found, Flavour.RUST)  # the one in C was never installed on PATH
    raise MissingToolError(
        "the program virtiofsd is not installed",
        hint="install the package virtiofsd (Debian 13, Ubuntu 24.04) or qemu-system-common "
        "(Debian 12)",
    )


def id_maps() -> IdMaps:
    """Work out how ids inside are mapped to ids of this host, for the user who runs this.

    Raises:
        MissingToolError: this user has no subordinate ids, or no program to map them.
    """
    user, group = os.geteuid(), os.getegid()
    root = user == 0
    if not root and not all(process.which(tool) for tool in ("newuidmap", "newgidmap")):
        raise MissingToolError(
            "sharing a directory with a VM takes the programs newuidmap and newgidmap",
            hint="install the package uidmap",
        )
    lent = {kind: _lent_to(user, path) for kind, path in _SUBIDS.items()}
    if root:
        lent = {kind: first or _FALLBACK_ROOT_ID for kind, first in lent.items()}
    return IdMaps(
        uid=_map(lent["uid"], user, "uid"), gid=_map(lent["gid"], group, "gid"), tools=not root
    )


def share_specs(mounts: tuple[Mount, ...], sockets: Path) -> list[dict[str, Any]]:
    """Give the shares as the launcher wants them; none if there are no ``mounts``.

    Raises:
        MissingToolError: there is no virtiofsd.
        HypervisorError: a directory is not there.
        UnsupportedError: there are more than one machine has room for.
    """
    if not mounts:
        return []
    if len(mounts) > MOST_SHARES:
        raise UnsupportedError(
            f"a VM has room for {MOST_SHARES} shared directories, not {len(mounts)}",
            hint="shorten share_claude_dirs in the configuration",
        )
    for mount in mounts:
        if not mount.path.is_dir():
            raise HypervisorError(
                f"{mount.path} cannot be shared with the VM: no such directory",
                hint="it was there when the VM was set up; spawn the branch again",
            )
    daemon = find_virtiofsd()
    return [_spec(mount, slot, daemon, sockets) for slot, mount in enumerate(mounts)]


def share_socket(sockets: Path, slot: int) -> Path:
    """Give the socket of the share in ``slot``."""
    return sockets / f"share{slot}.sock"


def first_lent(table: str, names: tuple[str, ...]) -> int | None:
    """Find the first id that /etc/subuid or /etc/subgid lends to one of ``names`` (pure)."""
    for line in table.splitlines():
        owner, _, numbers = line.partition(":")
        first, _, count = numbers.partition(":")
        if owner in names and first.isdecimal() and count.isdecimal() and int(count) > 0:
            return int(first)
    return None


def _spec(mount: Mount, slot: int, daemon: Virtiofsd, sockets: Path) -> dict[str, Any]:
    mountpoint = sockets / f"share{slot}"
    return {
        "socket": str(share_socket(sockets, slot)),
        "mountpoint": str(mountpoint),
        "directory": str(mount.path),
        "read_only": mount.read_only,
        "argv": virtiofsd_argv(daemon.program, daemon.flavour, mountpoint),
    }


def _map(lent: int | None, own: int, kind: str) -> IdMap:
    if lent is None:
        raise MissingToolError(
            f"this user has no subordinate {kind}s, which sharing a directory with a VM takes",
            hint="as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 "
            "YOUR-USER (the package uidmap brings what else it takes)",
        )
    return [[0, lent, 1], [GUEST_USER_ID, own, 1]]


def _lent_to(user: int, table: Path) -> int | None:
    try:
        names: tuple[str, ...] = (pwd.getpwuid(user).pw_name, str(user))
    except KeyError:
        names = (str(user),)
    try:
        return first_lent(table.read_text(encoding="utf-8", errors="replace"), names)
    except OSError:
        return None
