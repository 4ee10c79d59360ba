"""What this machine has of what Tart takes, as data for `tachikoma doctor`."""

from __future__ import annotations

import platform
import stat
from pathlib import Path

from tachikoma.host import process
from tachikoma.hypervisor.tart.addresses import LEASES, MOST_LEASES, leases_in_use
from tachikoma.hypervisor.tart.argv import version_argv
from tachikoma.hypervisor.tart.output import decode_version
from tachikoma.hypervisor.tart.program import Program
from tachikoma.model.checks import Check
from tachikoma.model.errors import HypervisorError

_LEAST_MACOS = 14
_SPARES_A_CORE = (2, 33, 0)
_SOFTNET_WHY = 'lets a VM reach nothing but the proxy (network = "proxy")'


async def checks(program: Program, *, now: float = 0.0) -> list[Check]:
    """Look at everything that the engine takes of this machine."""
    tart = await _tart(program)
    found = [tart, *thrift(tart), _softnet(process.which("softnet"))]
    if release := platform.mac_ver()[0]:
        found += [macos(release), *leases(LEASES, now)]
    return found


async def _tart(program: Program) -> Check:
    why = "runs the VMs"
    try:
        await program.prove()
        said = await program.text(version_argv())
    except HypervisorError as error:
        return Check("tart", ok=False, found=error.message, why=why, fix=error.hint)
    return Check("tart", ok=True, found=said, why=why)


def thrift(tart: Check) -> list[Check]:
    """Tell of a Tart that keeps a processor busy; nothing where it is none."""
    version = decode_version(tart.found) if tart.ok else None
    if version is None or version >= _SPARES_A_CORE:
        return []
    return [
        Check(
            "tart exec",
            ok=False,
            found=tart.found,
            why="before 2.33.0 it keeps a processor busy while a VM is being set up",
            fix="brew upgrade tart",
            required=False,
        )
    ]


def macos(release: str) -> Check:
    """Judge the version of macOS: `tart exec` takes 14."""
    ok = int(release.partition(".")[0]) >= _LEAST_MACOS
    return Check(
        "macOS",
        ok=ok,
        found=release,
        why="Tart runs commands in guests on macOS 14 or newer",
        fix="" if ok else "update macOS",
    )


def _softnet(path: str | None) -> Check:
    if path is None:
        return Check(
            "softnet",
            ok=False,
            found="missing",
            why=_SOFTNET_WHY,
            fix="brew install openai/tools/softnet",
            required=False,
        )
    seen = Path(path).stat()
    if seen.st_uid == 0 and seen.st_mode & stat.S_ISUID:
        return Check("softnet", ok=True, found=path, why=_SOFTNET_WHY, required=False)
    return Check(
        "softnet",
        ok=False,
        found=f"{path} does not run as root",
        why=_SOFTNET_WHY,
        fix=f"sudo chown root {path} && sudo chmod u+s {path}",
        required=False,
    )


def leases(file: Path, now: float) -> list[Check]:
    """Judge how many addresses are left; nothing where there is no such file."""
    try:
        taken = leases_in_use(file.read_text(encoding="utf-8", errors="replace"), now)
    except OSError:
        return []
    return [
        Check(
            "addresses",
            ok=taken < MOST_LEASES,
            found=f"{taken} leased",
            why="macOS has about 250 addresses for VMs and leases each for a day",
            fix=f"sudo rm {file}",
        )
    ]
