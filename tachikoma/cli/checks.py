"""What `doctor` looks at: one function a thing, each giving what it found and what would help."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from pathlib import Path

from tachikoma.cli import words
from tachikoma.host import files
from tachikoma.model.checks import Check as EngineCheck
from tachikoma.model.errors import MissingToolError, TachikomaError
from tachikoma.model.vm import Feature, Features
from tachikoma.runtime import Runtime

_CREDENTIALS = "`tachikoma credentials` tells what each source says"
_GIB = 1 << 30
_DISK_TIGHT = 8 * _GIB
_DISK_FULL = 1 * _GIB


class Verdict(StrEnum):
    """``fail``: spawn cannot work; ``warn``: it can, with something missing."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at: what was found, what it is good for, and what mends it."""

    name: str
    verdict: Verdict
    found: str
    hint: str = ""
    why: str = ""


Look = Callable[[Runtime], Awaitable[Check]]


async def look_all(runtime: Runtime) -> list[Check]:
    """Look at everything, whatever fails on the way. The same failure is told once."""
    found = [
        *[await _looked(name, look, runtime) for name, look in _FIRST],
        *await engine_parts(runtime),
        *[await _looked(name, look, runtime) for name, look in _THEN],
    ]
    told = {check.found: check for check in reversed(found) if check.verdict is Verdict.FAIL}
    return [check for check in found if told.get(check.found, check) is check]


def features_of(features: Features) -> dict[str, object]:
    """Give what an engine can do, feature by feature, and what it does by default."""
    told: dict[str, object] = {}
    for each in fields(features):
        value = getattr(features, each.name)
        if isinstance(value, Feature):
            told[each.name] = {"available": value.available, "why": value.why}
        else:
            told[each.name] = str(value)
    return told


async def _looked(name: str, look: Look, runtime: Runtime) -> Check:
    try:
        found = await look(runtime)
    except TachikomaError as error:
        found = Check(name, Verdict.FAIL, error.message, error.hint)
    return replace(found, why=found.why or _WHY[name])


async def _python(runtime: Runtime) -> Check:
    del runtime
    return Check("python", Verdict.OK, sys.version.split()[0])


async def _settings(runtime: Runtime) -> Check:
    try:
        explicit = len((await runtime.load_settings()).explicit)
    except TachikomaError:
        runtime.use_defaults()
        raise
    if runtime.warnings:
        return Check("settings", Verdict.WARN, "; ".join(runtime.warnings))
    found = f"{words.count(explicit, 'key')} set" if explicit else "all are defaults"
    return Check("settings", Verdict.OK, found)


async def git(runtime: Runtime) -> Check:
    """Look for git."""
    said = await runtime.said(["git", "--version"])
    return Check("git", Verdict.OK, said.removeprefix("git version "))


async def _ssh(runtime: Runtime) -> Check:
    said = await runtime.said(["ssh", "-V"])
    return Check("ssh", Verdict.OK, said.partition(",")[0])


async def _engine(runtime: Runtime) -> Check:
    return Check("engine", Verdict.OK, runtime.hypervisor.features.engine)


async def engine_parts(runtime: Runtime) -> list[Check]:
    """Look at what the engine of the VMs takes of this machine; nothing if there is no engine."""
    try:
        found = await runtime.engine_checks()
    except TachikomaError:
        return []  # the line about the engine has said why
    return [_engine_part(each) for each in found]


def _engine_part(each: EngineCheck) -> Check:
    verdict = Verdict.OK if each.ok else Verdict.FAIL if each.required else Verdict.WARN
    return Check(each.name, verdict, each.found, "" if each.ok else each.fix, each.why)


async def _vms(runtime: Runtime) -> Check:
    recorded, seen = runtime.store.read().vms, await runtime.hypervisor.vms()
    strays = sorted({info.name for info in seen} - set(recorded))
    if strays:
        return Check(
            "VMs",
            Verdict.WARN,
            f"{words.count(len(strays), 'VM')} that no branch belongs to: {', '.join(strays)}",
            "`tachikoma destroy NAME` removes one",
        )
    return Check("VMs", Verdict.OK, words.count(len(seen), "VM"))


async def _image(runtime: Runtime) -> Check:
    wanted = runtime.ports.image
    if wanted in {info.name for info in await runtime.images.images()}:
        return Check("image", Verdict.OK, wanted)
    builds = runtime.hypervisor.features.build_images
    if builds.available:
        return Check(
            "image",
            Verdict.WARN,
            f"{wanted} is not built yet",
            "the first spawn builds it, or `tachikoma image build`",
        )
    if runtime.hypervisor.features.pull_images.available:
        return Check(
            "image",
            Verdict.WARN,
            f"{wanted} is not here yet",
            "the first spawn fetches it, or `tachikoma image pull`",
        )
    return Check("image", Verdict.FAIL, f"{wanted} is not there", builds.why)


async def _key(runtime: Runtime) -> Check:
    key = runtime.paths.ssh_key
    there = key.exists()
    found = words.home(key, runtime.paths.home) if there else "the first spawn makes it"
    return Check("ssh key", Verdict.OK, found)


async def _proxy(runtime: Runtime) -> Check:
    if not runtime.settings.credential_proxy:
        return Check("proxy", Verdict.OK, "switched off (credential_proxy = false)")
    status = await runtime.proxy_status()
    found = "running" if status.running else "not running; spawn starts it"
    return Check("proxy", Verdict.OK, f"{status.endpoint}, {found}")


async def _credential(runtime: Runtime) -> Check:
    """Tell which source has a credential or why none has; never what it is."""
    found = await runtime.credential_findings()
    faults = "; ".join(f"{one.source}: {one.why}" for one in found if one.warning)
    credential = found[-1].credential if found else None
    if credential is not None:
        source = credential.source.replace(f"{runtime.paths.home}/", "~/", 1)
        used = f"{source} ({words.kind(credential.kind)})"
        if credential.expires is not None:
            used += f", expires {words.left(credential.expires, runtime.clock.now())}"
        if not faults:
            return Check("credential", Verdict.OK, used)
        return Check("credential", Verdict.WARN, f"{used}, but {faults}", _CREDENTIALS)
    told = faults or f"{words.count(len(found), 'place')} looked at"
    hint = (
        "Claude Code in a VM can ask nothing without one: set ANTHROPIC_API_KEY or "
        f"credential_command, or sign in with `claude` on this host; {_CREDENTIALS}"
    )
    return Check("credential", Verdict.WARN, f"none found: {told}", hint)


async def _disk(runtime: Runtime) -> Check:
    return disk(
        runtime, runtime.paths.data, "an image takes 1 to 2 GiB, and a VM grows as it works"
    )


def disk(runtime: Runtime, path: Path, use: str) -> Check:
    """Look at the free space where ``path`` is, or will be; ``use`` says what takes it."""
    place = existing(path)
    with files.translated(place):
        free = shutil.disk_usage(place).free
    found = f"{words.size(free)} free in {words.home(place, runtime.paths.home)}"
    if free >= _DISK_TIGHT:
        return Check("disk", Verdict.OK, found)
    verdict = Verdict.WARN if free >= _DISK_FULL else Verdict.FAIL
    return Check("disk", verdict, found, use)


async def _memory(runtime: Runtime) -> Check:
    total_mib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
    wanted_mib = runtime.settings.vm_memory
    found = f"{words.memory(total_mib)}; a VM gets {words.memory(wanted_mib)}"
    if wanted_mib < total_mib:
        return Check("memory", Verdict.OK, found)
    return Check("memory", Verdict.WARN, found, "set vm_memory to less than the host has")


def existing(path: Path) -> Path:
    """Give ``path``, or the nearest directory above it that is there."""
    return next(place for place in (path, *path.parents) if place.is_dir())


async def _gh(runtime: Runtime) -> Check:
    """Look for the one program that only `pr` uses."""
    try:
        said = await runtime.said(["gh", "--version"])
    except MissingToolError:
        return Check(
            "gh", Verdict.OK, "not installed; `tachikoma pr` then says how to go on by hand"
        )
    return Check("gh", Verdict.OK, said.removeprefix("gh version "))


_WHY = {
    "python": "runs tachikoma itself",
    "git": "finds branches and makes their worktrees",
    "settings": "says how VMs are made",
    "ssh": "leads into the VMs",
    "engine": "runs the VMs",
    "image": "is what the disks of new VMs start from",
    "VMs": "takes up disk space, and should belong to a branch",
    "ssh key": "opens the VMs, and nothing else",
    "proxy": "adds your credential to what VMs ask the API",
    "credential": "is what the proxy adds; it never enters a VM",
    "gh": "opens pull requests",
    "disk": "holds images and what VMs write",
    "memory": "is shared by all running VMs",
}
_FIRST: tuple[tuple[str, Look], ...] = (
    ("python", _python),
    ("git", git),
    ("settings", _settings),
    ("ssh", _ssh),
    ("engine", _engine),
)
_THEN: tuple[tuple[str, Look], ...] = (
    ("image", _image),
    ("VMs", _vms),
    ("ssh key", _key),
    ("proxy", _proxy),
    ("credential", _credential),
    ("gh", _gh),
    ("disk", _disk),
    ("memory", _memory),
)
