"""Golden snapshots: what their clones share and do not, and what is done when one is unusable."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tachikoma.host import process
from tachikoma.host.clock import SystemClock, attempts
from tachikoma.hypervisor.qemu.engine import Qemu
from tachikoma.hypervisor.qemu.machine import Machine, Machines
from tachikoma.hypervisor.qemu.snapshot import Saved, Snapshots, extents
from tachikoma.hypervisor.qemu.warming import Warming
from tachikoma.model.errors import DiskFullError
from tachikoma.model.events import Event, Report, StepProgress, silent
from tachikoma.model.names import VmName
from tachikoma.model.vm import GuestCommand, Launch, VmState
from tachikoma.vm.provision.plan import guest_script
from tests.live.conftest import User
from tests.live.test_qemu_power import until

pytestmark = pytest.mark.live_qemu

VM, OTHER = VmName("tachikoma-live-one"), VmName("tachikoma-live-two")
CPUS, MEMORY_MIB = 2, 1024
SIZE = {"cpus": CPUS, "memory_mib": MEMORY_MIB}
"""That of the VMs of live users: they share the snapshot."""
SOON_S = 30.0
ASLEEP_S = 0.002
AWAKE = ("/usr/bin/python3", "-I", "-S", "-c")
FACTS = """
import json, os, subprocess, time
def read(path):
    with open(path) as file:
        return file.read().strip()
def said(*argv):
    return subprocess.run(argv, capture_output=True, text=True).stdout
services = ("systemd-journald", "dbus", "systemd-logind")
end = time.monotonic() + 20
while said("systemctl", "is-active", *services).split() != ["active"] * len(services):
    if time.monotonic() > end:
        break
    time.sleep(0.2)
with open("/dev/urandom", "rb") as device:
    device = device.read(32).hex()
journal = [json.loads(line) for line in said("journalctl", "-o", "json", "--no-pager").splitlines()]
print(json.dumps({
    "own": {
        "machine-id": read("/etc/machine-id"),
        "boot-id": read("/proc/sys/kernel/random/boot_id"),
        "host key": read("/etc/ssh/ssh_host_ed25519_key.pub"),
        "private key": read("/etc/ssh/ssh_host_ed25519_key"),
        "address": read("/sys/class/net/eth0/address"),
        "host name": os.uname().nodename,
        "urandom": device,
        "getrandom": os.getrandom(32).hex(),
        "uuid": read("/proc/sys/kernel/random/uuid"),
    },
    "leases": os.listdir("/run/systemd/netif/leases"),
    "boots": sorted({entry["_BOOT_ID"] for entry in journal}),
    "machines": sorted({entry["_MACHINE_ID"] for entry in journal}),
    "journals": sorted(os.listdir("/run/log/journal")),
    "began": min(int(entry["__REALTIME_TIMESTAMP"]) for entry in journal) / 1e6,
    "systemd": said("systemctl", "is-system-running").strip(),
    "failed": said("systemctl", "--failed", "--plain", "--no-legend"),
    "services": said("systemctl", "is-active", *services),
    "clock": time.time(),
}))
"""


def engine_at(data: Path, runtime: Path) -> Qemu:
    return Qemu(data=data, runtime=runtime, clock=SystemClock(), programs=(guest_script(),))


@dataclass(frozen=True)
class Place:
    """Engines over one data directory, whose image has files and snapshots of its own."""

    data: Path
    runtime: Path
    golden: Saved

    @property
    def engine(self) -> Qemu:
        """What one command works with."""
        return engine_at(self.data, self.runtime)

    @property
    def machines(self) -> Machines:
        return Machines(directory=self.data / "vms", clock=SystemClock())

    @property
    def snapshots(self) -> Snapshots:
        return Snapshots((self.data / "images" / "debian").resolve())

    async def key(self) -> str:
        return await key_at(self.data, self.runtime)

    async def put(self) -> Saved:
        """Have a whole snapshot here: a copy of the one that all tests share."""
        made = self.snapshots.path / ".copy"
        made.mkdir(parents=True)
        for part in (self.golden.memory, self.golden.state, self.golden.disk):
            copy = ["cp", "--sparse=always", "--reflink=auto", str(part), str(made / part.name)]
            await process.run(copy, deadline_s=SOON_S)
        return self.snapshots.publish(made, await self.key())

    async def make(self, vm: VmName = VM) -> None:
        await self.engine.clone("debian", vm)
        await self.engine.configure(vm, **SIZE)

    async def warm(self, report: Report = silent) -> Saved:
        await self.engine.warm("debian", **SIZE, report=report)
        found = self.snapshots.find(await self.key())
        assert found is not None
        return found

    def machine(self, vm: VmName = VM) -> Machine:
        found = self.machines.load(vm)
        assert found is not None
        return found

    async def state(self, vm: VmName = VM) -> VmState:
        info = await self.engine.find(vm)
        assert info is not None
        return info.state

    def programs(self) -> list[int]:
        own = os.fspath(self.data.parent)
        pids = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
        return [pid for pid in pids if any(own in part for part in process.command_line(pid))]

    def command(self, body: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Run ``await engine.BODY`` in a process of its own."""
        script = (
            "import asyncio, sys; from pathlib import Path;"
            "from tachikoma.host.clock import SystemClock;"
            "from tachikoma.hypervisor.qemu.engine import Qemu; from tachikoma.model.vm import *;"
            "from tachikoma.model.events import silent;"
            "data, runtime, *more = sys.argv[1:];"
            "engine = Qemu(data=Path(data), runtime=Path(runtime), clock=SystemClock());"
            f"asyncio.run(engine.{body})"
        )
        places = [str(self.data), str(self.runtime)]
        return subprocess.Popen([sys.executable, "-c", script, *places, *arguments])

    async def answers(self, engine: Qemu, vm: VmName = VM) -> None:
        async for _ in attempts(SystemClock(), deadline_s=SOON_S):
            if await engine.agent_ready(vm):
                ended = await engine.execute(vm, GuestCommand(("sh", "-c", "echo it works")))
                assert ended.stdout == b"it works\n"
                return
        raise AssertionError(Path(engine.log_of(vm)).read_text())


async def key_at(data: Path, runtime: Path) -> str:
    """Give the key of the snapshot of the tests' image and size."""
    like = replace(
        engine_at(data, runtime)._machine(VM, "debian"), cpus=CPUS, memory_mib=MEMORY_MIB
    )
    warming = Warming(
        data=data, runtime=runtime, verdict=data / "kvm.json", clock=SystemClock(), programs=()
    )
    return await warming.key(like)


@pytest.fixture(scope="module")
def golden(live_image_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """The snapshot in the data directory that all live tests share."""
    base = tmp_path_factory.mktemp("golden")
    data = base / "data"
    data.mkdir()
    (data / "images").symlink_to(live_image_data / "images")

    async def made() -> Saved:
        await engine_at(data, base / "r").warm("debian", **SIZE, report=silent)
        snapshots = Snapshots((data / "images" / "debian").resolve())
        found = snapshots.find(await key_at(data, base / "r"))
        assert found is not None
        return found

    return asyncio.run(made())


@pytest.fixture
async def place(own_home: Path, live_image_data: Path, golden: Saved) -> AsyncIterator[Place]:
    image = (live_image_data / "images" / "debian").resolve()
    data, runtime = own_home / "data", own_home / "r"
    own = data / "images" / ".store" / image.name
    own.mkdir(parents=True)
    for part in ("vmlinuz", "initrd.img", "image.json"):
        shutil.copy(image / part, own / part)
    (own / "disk.qcow2").symlink_to(image / "disk.qcow2")
    (data / "images" / "debian").symlink_to(Path(".store") / image.name)
    made = Place(data, runtime, golden)
    yield made
    for each in await made.engine.vms():
        await made.engine.stop(each.name, grace_s=0)
        await made.engine.delete(each.name)
    assert made.programs() == []
    assert list(runtime.iterdir() if runtime.exists() else []) == []


def host_key_at(port: int) -> str:
    """Give the first host key that is shown at ``port`` of this host."""
    end = time.monotonic() + SOON_S
    while time.monotonic() < end:
        argv = ["ssh-keyscan", "-T", "2", "-t", "ed25519", "-p", str(port), "127.0.0.1"]
        scan = subprocess.run(argv, capture_output=True, text=True, check=False)
        if scan.stdout:
            return scan.stdout.split()[2]
    raise AssertionError("no SSH server answers")


async def own_host_key(engine: Qemu, vm: VmName) -> str:
    """Ask the guest for the public key of its SSH server."""
    script = "print(open('/etc/ssh/ssh_host_ed25519_key.pub').read())"
    ended = await engine.execute(vm, GuestCommand((*AWAKE, script)))
    return ended.stdout.decode().split()[1]


async def shown_host_key(engine: Qemu, vm: VmName) -> str:
    """Connect to the guest and see which key it has."""
    address = await engine.address(vm)
    assert address is not None
    return await asyncio.to_thread(host_key_at, address.port)


async def test_clones_of_one_snapshot_draw_and_show_what_is_their_own_from_the_start(
    place: Place,
) -> None:
    saved = await place.put()
    engine, drawn, shown = place.engine, [], []
    for vm in (VM, OTHER):
        await place.make(vm)
        await engine.start(vm, Launch())
        assert place.machine(vm).snapshot == saved.path
        shown.append(await shown_host_key(engine, vm))
        script = (
            "import os; print(os.getrandom(32).hex(), os.urandom(32).hex());"
            "print(open('/etc/ssh/ssh_host_ed25519_key.pub').read())"
        )
        ended = await engine.execute(vm, GuestCommand((*AWAKE, script)))
        *numbers, _, key = ended.stdout.decode().split()
        assert shown[-1] == key
        drawn += numbers
    assert len(set(drawn)) == 4
    assert len(set(shown)) == 2
    for vm in (VM, OTHER):
        await engine.stop(vm, grace_s=0)


def facts(user: User, vm: str) -> Any:
    """Ask a VM of the user who it is, by the agent, as root."""
    data = user.home / ".local" / "share" / "tachikoma"
    engine = engine_at(data, Path(user.environ["XDG_RUNTIME_DIR"]) / "tachikoma")
    command = GuestCommand(("/usr/bin/python3", "-c", FACTS), deadline_s=SOON_S)
    ended = asyncio.run(engine.execute(VmName(vm), command))
    assert ended.status == 0, ended.stderr.decode()
    return json.loads(ended.stdout) | {"host clock": time.time()}


def warm(user: User, vm: str) -> bool:
    data = user.home / ".local" / "share" / "tachikoma"
    machine = json.loads((data / "vms" / vm / "machine.json").read_bytes())
    return machine["snapshot"] is not None and not machine["fresh"]


def spawned(user: User, repository: Path, *branches: str) -> list[str]:
    """Spawn branches at the same time; gives the names of their VMs."""
    argv = [user.argv("spawn", branch, "--no-interactive", "--json") for branch in branches]
    commands = [
        subprocess.Popen(each, cwd=repository, env=user.environ, stdout=subprocess.PIPE)
        for each in argv
    ]
    said = [json.loads(command.communicate(timeout=60)[0]) for command in commands]
    assert [each["ok"] for each in said] == [True] * len(branches), said
    assert {each["data"]["how"] for each in said} == {"created"}
    return [str(each["data"]["name"]) for each in said]


def test_two_clones_share_no_identity_and_one_that_is_halted_keeps_its_own(
    golden: Saved, live_user: User
) -> None:
    user, repository = live_user, live_user.repository()
    vms = spawned(user, repository, "one", "two")
    assert all(warm(user, vm) for vm in vms)
    one, two = (facts(user, vm) for vm in vms)
    assert {each for each in one["own"] if one["own"][each] == two["own"][each]} == set()
    assert [one["own"]["host name"], two["own"]["host name"]] == ["one", "two"]
    for vm, told in ((vms[0], one), (vms[1], two)):
        assert abs(told["clock"] - told["host clock"]) < 2.0
        assert told["leases"] == []
        assert told["machines"] == [told["own"]["machine-id"]]
        assert told["journals"] == [told["own"]["machine-id"]]
        assert told["boots"] == [told["own"]["boot-id"].replace("-", "")]
        assert told["began"] > golden.about.stat().st_mtime
        assert (told["systemd"], told["failed"]) == ("running", "")
        assert told["services"].split() == ["active"] * 3
        pinned = (user.home / ".config" / "tachikoma" / "known_hosts" / vm).read_text()
        assert told["own"]["host key"].split()[1] in pinned

    user.run("halt", "one", cwd=repository)
    again = user.run("spawn", "one", "--no-interactive", "--json", cwd=repository).json["data"]
    assert again["how"] == "started"
    after = facts(user, vms[0])
    for kept in ("machine-id", "host key", "private key", "address", "host name"):
        assert after["own"][kept] == one["own"][kept]
    assert after["own"]["boot-id"] != one["own"]["boot-id"]


def cut(saved: Saved) -> None:
    os.truncate(saved.memory, saved.memory.stat().st_size // 2)


def scribble(saved: Saved) -> None:
    with saved.memory.open("r+b") as file:
        start, _ = next(extents(file.fileno(), saved.memory.stat().st_size))
        file.seek(start)
        file.write(b"no longer what it was")


def lose_state(saved: Saved) -> None:
    saved.state.unlink()


def scribble_unseen(saved: Saved) -> None:
    """Change the state of the devices and say that all is well."""
    key = json.loads(saved.about.read_bytes())["key"]
    saved.state.write_bytes(b"no state of any device")
    saved.seal(key)


@pytest.mark.parametrize("harm", [cut, scribble, lose_state, scribble_unseen])
async def test_what_is_no_whole_snapshot_is_not_gone_on_from(
    place: Place, harm: Callable[[Saved], None]
) -> None:
    saved = await place.put()
    harm(saved)
    await place.make()
    await place.engine.start(VM, Launch())
    assert await place.state() is VmState.RUNNING
    assert (place.machine().snapshot, place.machine().fresh) == (None, False)
    assert place.snapshots.find(await place.key()) is None


async def test_another_qemu_has_snapshots_of_its_own(
    place: Place, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, saved = await place.key(), await place.put()
    changed = own_home / "bin" / "qemu-system-x86_64"
    changed.parent.mkdir()
    changed.write_text(f'#!/bin/sh\nexec {process.which(changed.name)} "$@"\n')
    changed.chmod(0o755)
    monkeypatch.setenv("PATH", f"{changed.parent}:{os.environ['PATH']}")
    await place.make()
    engine = place.engine
    await engine.start(VM, Launch())
    assert place.machine().snapshot is None
    await place.answers(engine)
    await engine.stop(VM, grace_s=0)
    assert saved.whole(key), "it is for those who still have the QEMU of before"


@pytest.mark.timeout(120)
async def test_a_killed_making_leaves_nothing_that_runs_and_the_next_one_replaces_what_is_broken(
    place: Place,
) -> None:
    cut(await place.put())
    making = place.snapshots.path / ".making" / f"golden-{await place.key()}"
    size = [str(CPUS), str(MEMORY_MIB)]
    call = "warm('debian', cpus=int(more[0]), memory_mib=int(more[1]), report=silent)"
    for moment in (making / "qemu.log", making / "run.json", making / "made" / "memory"):
        with place.command(call, *size) as command:
            await until(moment.exists)
            command.kill()
        await until(lambda: place.programs() == [])
        assert place.snapshots.find(await place.key()) is None
    thrown_away: list[str] = []

    def look(event: Event) -> None:
        if event == StepProgress("letting it settle"):
            port = json.loads((making / "run.json").read_bytes())["port"]
            thrown_away.append(host_key_at(port))

    saved = await place.warm(look)
    assert list(making.parent.iterdir()) == []
    await place.make()
    engine = place.engine
    await engine.start(VM, Launch())
    assert place.machine().snapshot == saved.path
    await place.answers(engine)
    (shown,) = {await shown_host_key(engine, VM), await own_host_key(engine, VM)}
    assert thrown_away != [shown]
    await engine.stop(VM, grace_s=SOON_S)
    disks = saved.disk.read_bytes() + place.machines.home(VM).disk.read_bytes()
    assert shown.encode() in disks, "the search would not find what is there"
    assert thrown_away[0].encode() not in disks


def began(place: Place) -> bool:
    return place.machines.home(VM).log.exists()


def waits(place: Place) -> bool:
    return place.machines.alive(VM) is not None


def went_on(place: Place) -> bool:
    return not place.machine().fresh


def is_on_record(place: Place) -> bool:
    return place.machines.running(VM) is not None


@pytest.mark.parametrize("moment", [began, waits, went_on, is_on_record])
async def test_a_restore_whose_command_was_killed_goes_on_or_is_done_again(
    place: Place, moment: Callable[[Place], bool]
) -> None:
    await place.put()
    await place.make()
    with place.command("start(more[0], Launch())", VM) as command:
        while not moment(place):
            assert command.poll() is None
            await asyncio.sleep(ASLEEP_S)
        command.send_signal(signal.SIGKILL)
    assert await place.state() in {VmState.RUNNING, VmState.STOPPED}
    engine = place.engine
    await engine.start(VM, Launch())
    assert await place.state() is VmState.RUNNING
    await place.answers(engine)
    assert await shown_host_key(engine, VM) == await own_host_key(engine, VM)
    await engine.stop(VM, grace_s=0)
    assert place.programs() == []


@pytest.fixture
def small_disk(place: Place) -> Iterator[Path]:
    """A file system of its own for the snapshots."""
    place.snapshots.path.mkdir(mode=0o700)
    at = str(place.snapshots.path)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1200m,mode=700", "tmpfs", at], check=True)
    yield place.snapshots.path
    subprocess.run(["umount", at], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root to make a small disk")
async def test_a_disk_that_fills_up_while_a_snapshot_is_made_leaves_nothing_but_cold_starts(
    place: Place, small_disk: Path
) -> None:
    def fill_up(event: Event) -> None:
        if event == StepProgress("saving its memory"):
            used = shutil.disk_usage(small_disk).used + (20 << 20)
            argv = ["mount", "-o", f"remount,size={used}", str(small_disk)]
            subprocess.run(argv, check=True)

    with pytest.raises(DiskFullError):
        await place.engine.warm("debian", **SIZE, report=fill_up)
    assert place.programs() == []
    assert [path.name for path in small_disk.rglob("*") if path.name != ".lock"] == [".making"]
    with pytest.raises(DiskFullError, match="a snapshot takes up to"):
        await place.warm()
    await place.make()
    await place.engine.start(VM, Launch())
    assert place.machine().snapshot is None
