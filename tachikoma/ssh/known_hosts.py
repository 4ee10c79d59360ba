"""The host keys we know: one known_hosts file a VM, filled through the agent channel."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from pathlib import Path

from tachikoma.host import files
from tachikoma.host.paths import private_dir
from tachikoma.model.errors import SshError
from tachikoma.model.names import VmName

_TYPE = re.compile(r"(ssh|ecdsa|sk)-[a-z0-9@.-]+")


def lines_for(vm: VmName, host_keys: Sequence[str]) -> list[str]:
    """Give the known_hosts lines for keys ``<type> <base64> [comment]`` (pure).

    Raises:
        SshError: one of them is no public key, or there is none at all.
    """
    lines = [f"{vm} {_checked(vm, key)}" for key in host_keys if key.strip()]
    if not lines:
        raise SshError(f"{vm} told no host key", hint=f"see the console log of {vm}")
    return lines


def pin(directory: Path, vm: VmName, host_keys: Sequence[str]) -> Path:
    """Write what is known of ``vm``, in place of what was known before."""
    path = private_dir(directory) / vm
    files.write_atomically(path, "".join(f"{x}\n" for x in lines_for(vm, host_keys)).encode())
    return path


def forget(directory: Path, vm: VmName) -> None:
    """Remove the file of ``vm``. Does nothing if absent."""
    path = directory / vm
    with files.translated(path):
        path.unlink(missing_ok=True)


def pinned(path: Path, vm: VmName) -> dict[str, set[str]]:
    """Give the keys that ``path`` holds for ``vm``, as base64 by type; empty if there are none."""
    known: dict[str, set[str]] = {}
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return known
    except OSError as error:
        raise files.from_os_error(error, path) from error
    for line in text.splitlines():
        match line.split():
            case [name, kind, key, *_] if name == vm:
                known.setdefault(kind, set()).add(key)
            case _:
                pass
    return known


def _checked(vm: VmName, line: str) -> str:
    kind, _, rest = line.strip().partition(" ")
    key = rest.split()[0] if rest.split() else ""
    try:
        blob = base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError):
        blob = b""
    named = kind.encode("ascii", "replace")
    if not _TYPE.fullmatch(kind) or blob[: 4 + len(named)] != len(named).to_bytes(4, "big") + named:
        raise SshError(
            f"{vm} told something that is no host key: {line[:60]!r}",
            hint=f"see the console log of {vm}",
        )
    return f"{kind} {key}"
