"""Every command that needs no guest."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from tests.doubles.tart_double.contract import Fail, absent, is_reference, not_running, refused
from tests.doubles.tart_double.parsing import Parsed
from tests.doubles.tart_double.store import (
    GB,
    Store,
    load,
    lock_owner,
    random_mac,
    save,
    split,
    state,
)

_POLL_S = 0.1
_MIB = 1 << 20
_HINTS = {
    "dhcp": "",
    "agent": " (also make sure that Guest agent for Tart is running inside of a VM)",
    "arp": " (not all Linux distributions are compatible with the ARP resolver)",
}


@dataclass(frozen=True, slots=True)
class Call:
    """One command: what was asked, of which home, by whom, and where answers go."""

    parsed: Parsed
    store: Store
    environ: Mapping[str, str]
    out: TextIO

    @property
    def words(self) -> list[str]:
        return self.parsed.words

    def option(self, name: str, default: Any = None) -> Any:
        return self.parsed.get(name, default)

    def say(self, text: str) -> None:
        self.out.write(f"{text}\n")
        self.out.flush()

    def progress(self, percent: int) -> None:
        moves = "" if "CI" in self.environ or percent == 0 else "\x1b[1A\r\x1b[J"
        self.say(f"{moves}{percent}%")


def list_all(call: Call) -> None:
    wanted = call.option("--source")
    rows = []
    if wanted in (None, "local"):
        rows += [_row("local", name, call.store.vms / name) for name in call.store.local_names()]
    if wanted in (None, "oci"):
        names = call.store.cached_names()
        rows += [_row("OCI", name, call.store.cached(name)) for name in names]
    if call.option("--quiet"):
        for row in rows:
            call.say(row["Name"])
    elif call.option("--format", "text") == "json":
        call.say(swift_json(rows))
    else:
        call.say(_table(rows, leave_out="Running"))


def _row(source: str, name: str, place: Path) -> dict[str, Any]:
    sizes = load(place)["double"]
    accessed = datetime.fromtimestamp(place.stat().st_atime, UTC)
    now = state(place)
    return {
        "Source": source,
        "Name": name,
        "Disk": sizes["disk"] // GB,
        "Size": sizes["allocated"] // GB,
        "Accessed": accessed.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "Running": now == "running",
        "State": now,
    }


def get(call: Call) -> None:
    place = call.store.vm(call.words[0])
    config, now = load(place), state(place)
    display = config["display"]
    row = {
        "OS": config["os"],
        "CPU": config["cpuCount"],
        "Memory": config["memorySize"] // _MIB,
        "Disk": config["double"]["disk"] // GB,
        "DiskFormat": config["diskFormat"],
        "Size": f"{config['double']['allocated'] / GB:.3f}",
        "Display": f"{display['width']}x{display['height']}{display.get('unit', '')}",
        "Running": now == "running",
        "State": now,
    }
    as_json = call.option("--format", "text") == "json"
    call.say(swift_json(row) if as_json else _table([row], leave_out="Running"))


def set_up(call: Call) -> None:
    place = call.store.vm(call.words[0])
    config = load(place)
    if (cpus := call.option("--cpu")) is not None:
        _refuse_too_little(cpus, config["cpuCountMin"], "CPU cores")
        config["cpuCount"] = cpus
    if (memory := call.option("--memory")) is not None:
        _refuse_too_little(memory * _MIB, max(config["memorySizeMin"], 1), "bytes of memory")
        config["memorySize"] = memory * _MIB
    config["displayRefit"] = call.option("--display-refit")
    if call.option("--random-mac"):
        config["macAddress"] = random_mac()
    save(place, config)
    if (size := call.option("--disk-size")) is not None:
        had = config["double"]["disk"] // GB
        if size < had:
            raise Fail(
                1,
                f"new disk size of {size} GB should be larger than the current disk size of "
                f"{had} GB",
            )
        config["double"]["disk"] = size * GB
        save(place, config)


def _refuse_too_little(given: int, least: int, what: str) -> None:
    if given < least:
        raise Fail(
            1,
            f"Error: LessThanMinimalResourcesError: VM should have {least} {what} at minimum "
            f"(requested {given})",
        )


def clone(call: Call) -> None:
    name, new = call.words
    if is_reference(name) and not call.store.cached(name).exists():
        _fetch(call, name)
    source = call.store.open(name)
    with call.store.locked():
        target = call.store.vms / new
        macs = {load(call.store.vms / each)["macAddress"] for each in call.store.local_names()}
        config = load(source)
        call.store.copy(source, target)
        if config["macAddress"] in macs and state(source) != "suspended":
            save(target, config | {"macAddress": random_mac()})


def create(call: Call) -> None:
    size = call.option("--disk-size", 50) * GB
    call.store.make(call.words[0], double={"disk": size, "allocated": 0})


def rename(call: Call) -> None:
    name, new = call.words
    if not (call.store.vms / name).is_dir():
        raise refused(f"failed to rename a non-existent local VM: {name}")
    if (call.store.vms / new).is_dir():
        raise refused(
            f"failed to rename VM {name}, target VM {new} already exists, delete it first!"
        )
    (call.store.vms / name).rename(call.store.vms / new)


def delete(call: Call) -> None:
    for name in call.words:
        if is_reference(name):
            place = call.store.cached(name)
            if not place.exists():
                raise absent(name)
            digest = place.resolve()
            place.unlink() if place.is_symlink() else shutil.rmtree(place)
            tags = [each.resolve() for each in digest.parent.iterdir() if each.is_symlink()]
            if digest.exists() and digest not in tags:
                shutil.rmtree(digest)
            continue
        place = call.store.vms / name
        if not (place / "config.json").exists():
            raise absent(name)
        if lock_owner(place) is not None:
            raise Fail(1, f'VM "{name}" is running')
        shutil.rmtree(place)
        shutil.rmtree(call.store.own / "qemu" / "vms" / name, ignore_errors=True)


def stop(call: Call) -> None:
    name = call.words[0]
    place = call.store.vm(name)
    now = state(place)
    if now == "stopped":
        raise not_running(name)
    if now == "suspended":
        (place / "state.vzvmsave").unlink()
        return
    owner = lock_owner(place)
    end = time.monotonic() + call.option("--timeout", 30)
    with contextlib.suppress(ProcessLookupError):
        if owner is not None:
            os.kill(owner, signal.SIGINT)
    while time.monotonic() < end and lock_owner(place) == owner:
        time.sleep(_POLL_S)
    with contextlib.suppress(ProcessLookupError):
        if owner is not None and lock_owner(place) == owner:
            os.kill(owner, signal.SIGKILL)


def suspend(call: Call) -> None:
    name = call.words[0]
    owner = lock_owner(call.store.vm(name))
    if owner is None:
        raise Fail(2, f'VM "VM "{name}" is not running" is not running')
    os.kill(owner, signal.SIGUSR1)


def ip(call: Call) -> None:
    name = call.words[0]
    place = call.store.vm(name)
    resolver = call.option("--resolver", "dhcp")
    end = time.monotonic() + call.option("--wait", 0)
    while True:
        settings = call.store.settings
        found = (
            None if settings.get("no_ip") else call.store.leases().get(load(place)["macAddress"])
        )
        if resolver != "dhcp" and (lock_owner(place) is None or settings.get("deaf")):
            found = None
        if found is not None:
            call.say(found)
            return
        time.sleep(settings.get("ip_poll_s", 1.0))
        if time.monotonic() >= end:
            asleep = "" if lock_owner(place) is not None else ", is your VM running?"
            raise Fail(1, f"no IP address found{asleep}{_HINTS[resolver]}")


def fqn(call: Call) -> None:
    name = call.words[0]
    if not is_reference(name):
        call.say(name)
        return
    place = call.store.cached(name)
    if not place.exists():
        raise Fail(1, f"OCI storage error: {name} is not a digest and doesn't point to a digest")
    call.say(f"{split(name)[0]}@{place.resolve().name}")


def pull(call: Call) -> None:
    name = call.words[0]
    if (call.store.vms / name).is_dir():
        call.say(f'"{name}" is a local image, nothing to pull here!')
        return
    if not is_reference(name):
        raise Fail(1, "failed to parse remote name: no viable alternative at input (character 0)")
    call.say(f"pulling {name}...")
    _fetch(call, name)


def _fetch(call: Call, name: str) -> None:
    path, tag = split(name)
    source = call.store.registry / path / tag
    call.say("pulling manifest...")
    if not source.is_dir():
        raise Fail(
            1,
            'Error: UnexpectedHTTPStatusCode(when: "pulling manifest", code: 404, details: "{}")',
        )
    content = b"".join((source / part).read_bytes() for part in ("config.json", "disk.img"))
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    place = call.store.cached(f"{path}@{digest}")
    link = call.store.cached(name)
    if place.is_dir():
        call.say(f"{path}@{digest} image is already cached! creating a symlink...")
    else:
        call.say(f"pulling disk ({load(source)['double']['allocated'] / GB:.1f} GB compressed)...")
        for percent in (0, 41, 100):
            call.progress(percent)
        call.say("pulling NVRAM...")
        call.store.copy(source, place)
    link.unlink(missing_ok=True)
    link.symlink_to(place)


def push(call: Call) -> None:
    name, *targets = call.words
    source = call.store.open(name)
    if lock_owner(source) is not None:
        raise Fail(1, f'VM "{name}" is running')
    for target in targets:
        if not is_reference(target):
            raise Fail(
                1, "failed to parse remote name: no viable alternative at input (character 0)"
            )
        path, tag = split(target)
        call.say(f"pushing {name} to {target}...")
        for percent in (0, 100):
            call.progress(percent)
        call.store.copy(source, call.store.registry / path / tag)


def prune(call: Call) -> None:
    if call.option("--entries", "caches") not in ("caches", "vms"):
        raise refused('unsupported --entries value, please specify either "caches" or "vms"')
    days = call.option("--older-than")
    for name in call.store.cached_names():
        place = call.store.cached(name)
        if days is not None and place.stat().st_atime < time.time() - days * 86_400:
            place.unlink() if place.is_symlink() else shutil.rmtree(place)


def export(call: Call) -> None:
    source = call.store.open(call.words[0])
    target = Path(call.words[1] if len(call.words) > 1 else f"{call.words[0]}.tvm")
    call.say("exporting...")
    parts = {part: (source / part).read_bytes().hex() for part in ("config.json", "disk.img")}
    target.write_text(json.dumps(parts))


def import_(call: Call) -> None:
    call.say("importing...")
    try:
        parts = json.loads(Path(call.words[0]).read_bytes())
    except OSError as error:
        raise Fail(
            1, f"VM import failed: ArchiveByteStream.fileStream() failed: {error.strerror}"
        ) from error
    place = call.store.make(call.words[1], disk=bytes.fromhex(parts["disk.img"]))
    (place / "config.json").write_bytes(bytes.fromhex(parts["config.json"]))


def login(call: Call) -> None:
    (call.store.own / "logins").write_text(call.words[0])


def logout(call: Call) -> None:
    (call.store.own / "logins").unlink(missing_ok=True)


COMMANDS: dict[str, Callable[[Call], None]] = {
    "list": list_all,
    "get": get,
    "set": set_up,
    "clone": clone,
    "create": create,
    "rename": rename,
    "delete": delete,
    "stop": stop,
    "suspend": suspend,
    "ip": ip,
    "fqn": fqn,
    "pull": pull,
    "push": push,
    "prune": prune,
    "export": export,
    "import": import_,
    "login": login,
    "logout": logout,
}


def swift_json(value: Any) -> str:
    """Write JSON as Foundation does."""
    if value == []:
        return "[\n\n]"
    return json.dumps(value, indent=2, separators=(",", " : ")).replace("/", "\\/")


def _table(rows: list[dict[str, Any]], *, leave_out: str) -> str:
    if not rows:
        return ""
    names = [name for name in rows[0] if name != leave_out]
    lines = [names, *([str(row[name]) for name in names] for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(names))]
    return "\n".join(
        " ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
