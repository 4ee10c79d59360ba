"""`tart run`: the process that is the VM's life."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from tests.doubles.tart_double.commands import Call
from tests.doubles.tart_double.contract import Fail, misused, refused
from tests.doubles.tart_double.store import Store, is_vm, load, lock_owner, random_mac, save

_BIN = Path(__file__).resolve().parent / "bin"
_DEFAULT_TAG = "com.apple.virtio-fs.automount"
_CLONE_NEWNS = 0x00020000
_MS_BIND, _MS_REC, _MS_PRIVATE = 4096, 16384, 1 << 18
_POLL_S = 0.2
SSH = 22
_NETWORK = """\
ip address replace 192.168.64.15/24 dev eth0
ip route replace default via 192.168.64.1 dev eth0
ip address delete 10.0.2.15/24 dev eth0
"""


@dataclass(frozen=True, slots=True)
class Dir:
    """One --dir."""

    name: str
    path: Path
    tag: str
    read_only: bool


class Guest(Protocol):
    """What `tart run` runs."""

    async def start(self) -> None: ...

    async def settle(self) -> None: ...

    async def lives(self) -> bool: ...

    async def press_power_button(self) -> None: ...

    async def cut_power(self) -> None: ...

    @property
    def port(self) -> int | None: ...


def run(call: Call, late: Fail | None) -> int:
    name, store = call.words[0], call.store
    place = _opened(store, name)
    config = load(place)
    if (place / "state.vzvmsave").exists() or call.option("--suspendable"):
        raise misused("run", "You can only suspend macOS VMs")
    dirs = parse_dirs(call.option("--dir", []))
    _check_softnet(call)
    with contextlib.ExitStack() as life:
        with store.locked():
            if config["macAddress"] in _running_macs(store, name):
                call.say("There is already a running VM with the same MAC address!")
                call.say("Resetting VM to assign a new MAC address...")
                config["macAddress"] = random_mac()
                save(place, config)
            # From here on nobody in this process may open config.json: closing it drops the lock.
            held = life.enter_context((place / "config.json").open("rb+"))
            try:
                fcntl.lockf(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Fail(2, f'VM "{name}" is already running!') from None
        if late is not None:
            raise late
        guest = _guest(store, name, config, dirs, call)
        return asyncio.run(_life(call, place, guest, store.lease(config["macAddress"])))


def parse_dirs(specs: list[str]) -> list[Dir]:
    """Take --dir values apart, with their traps."""
    found = []
    for spec in specs:
        parts = [part for part in spec.split(":") if part]
        options: list[str] = []
        if any(each == "ro" or each.startswith("tag=") for each in parts[-1].split(",")):
            options = parts.pop().split(",")
        tags = [each.removeprefix("tag=") for each in options if each.startswith("tag=")]
        path = Path(parts[-1]).expanduser()
        name = parts[0] if len(parts) > 1 else ""
        found.append(Dir(name, path.absolute(), (tags or [_DEFAULT_TAG])[-1], "ro" in options))
    for tag in {each.tag for each in found}:
        same = [each for each in found if each.tag == tag]
        if len(same) > 1 and not all(each.name for each in same):
            raise refused(
                "invalid --dir syntax: for multiple directory shares each one of them should be "
                "named"
            )
    return found


def _opened(store: Store, name: str) -> Path:
    place = store.vms / name
    if not place.is_dir() or not (place / "config.json").exists():
        raise Fail(1, f'Error: the specified VM "{name}" does not exist')
    if not is_vm(place):
        raise Fail(1, "Error: VM is missing some of its files (config.json, disk.img or nvram.bin)")
    return place


def _running_macs(store: Store, name: str) -> set[str]:
    others = [store.vms / each for each in store.local_names() if each != name]
    return {load(each)["macAddress"] for each in others if lock_owner(each) is not None}


def _check_softnet(call: Call) -> None:
    wanted = any(each.startswith(("--net-softnet", "--net-host")) for each in call.parsed.options)
    if wanted and shutil.which("softnet", path=call.environ.get("PATH")) is None:
        raise Fail(1, 'Error: InitializationFailed(why: "softnet not found in PATH")')


def _guest(store: Store, name: str, config: dict[str, Any], dirs: list[Dir], call: Call) -> Guest:
    if store.settings.get("guest") == "pretended":
        return Pretended()
    isolated = any(each.startswith("--net-softnet") for each in call.parsed.options)
    return Qemus(store, name, config, dirs, isolated=isolated)


async def _life(call: Call, place: Path, guest: Guest, address: str) -> int:
    loop = asyncio.get_running_loop()
    asked: asyncio.Queue[signal.Signals] = asyncio.Queue()
    for each in (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        loop.add_signal_handler(each, asked.put_nowait, each)
    await guest.start()
    control = await asyncio.start_unix_server(_hang_up, place / "control.sock")
    ssh = await _way_in(address, guest)
    settling = asyncio.ensure_future(guest.settle())
    try:
        return await _until_ended(call, guest, asked)
    finally:
        settling.cancel()
        for server in filter(None, (control, ssh)):
            server.close()


async def _until_ended(call: Call, guest: Guest, asked: asyncio.Queue[signal.Signals]) -> int:
    while await guest.lives():
        try:
            async with asyncio.timeout(_POLL_S):
                number = await asked.get()
        except TimeoutError:
            continue
        match number:
            case signal.SIGINT:
                call.say("Stopping VM...")
                await guest.cut_power()
                return 0
            case signal.SIGUSR1:
                call.say("pausing VM to take a snapshot...")
                call.say("Failed to suspend the VM: not validated for save/restore")
                await guest.cut_power()
                return 1
            case _:
                call.say("Requesting guest OS to stop...")
                await guest.press_power_button()
    call.say("guest has stopped the virtual machine")
    await guest.cut_power()
    return 0


async def _hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def _way_in(address: str, guest: Guest) -> asyncio.Server | None:
    """Let the guest's SSH server be reached at its address."""
    port = guest.port
    if port is None:
        return None

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            theirs, ours = await asyncio.open_connection("127.0.0.1", port)
            async with asyncio.TaskGroup() as both:
                both.create_task(_copy(reader, ours))
                both.create_task(_copy(theirs, writer))

    return await asyncio.start_server(relay, address, SSH)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await reader.read(1 << 16):
            writer.write(piece)
            await writer.drain()
    with contextlib.suppress(OSError):
        writer.close()


class Pretended:
    """A guest that is nothing but the process that runs it."""

    def __init__(self) -> None:
        self._lives = True

    @property
    def port(self) -> int | None:
        return None

    async def start(self) -> None:
        return

    async def settle(self) -> None:
        return

    async def lives(self) -> bool:
        return self._lives

    async def press_power_button(self) -> None:
        self._lives = False

    async def cut_power(self) -> None:
        self._lives = False


class Qemus:
    """A real guest: an overlay on an image of ours, run by our own engine."""

    def __init__(
        self,
        store: Store,
        name: str,
        config: dict[str, Any],
        dirs: list[Dir],
        *,
        isolated: bool,
    ) -> None:
        # The QEMU on this PATH wires a guest as Tart does, and dies with this process.
        os.environ["PATH"] = f"{_BIN}{os.pathsep}{os.environ['PATH']}"
        from tachikoma.hypervisor.qemu.monitor import conversation
        from tachikoma.model.names import VmName
        from tachikoma.model.vm import Launch, Mount, Network
        from tests.doubles.tart_double.guest import engine

        self._store, self._config = store, config
        self._name = VmName(name)
        self._ours = store.vms / name / "disk.img"
        self._theirs = store.own / "qemu" / "vms" / name / "disk.qcow2"
        self._engine = engine(store)
        self._conversation = conversation
        self._port: int | None = None
        mounts = tuple(
            Mount(tag, path, read_only) for tag, path, read_only in _laid_out(store, name, dirs)
        )
        network = Network.PROXY if isolated else Network.OPEN
        self._launch = Launch(mounts=mounts, network=network)

    @property
    def port(self) -> int | None:
        return self._port

    async def start(self) -> None:
        engine, name = self._engine, self._name
        if await engine.find(name) is None:
            await engine.clone("debian", name)
        self._plug_disk_in()
        memory_mib = self._config["memorySize"] >> 20
        await engine.configure(name, cpus=self._config["cpuCount"], memory_mib=memory_mib)
        await engine.start(name, self._launch)
        self._take_disk()
        endpoint = await engine.address(name)
        self._port = None if endpoint is None else endpoint.port

    async def settle(self) -> None:
        """Give the guest the address that a lease of Tart's network would: our images ask none."""
        from tachikoma.model.errors import HypervisorError
        from tachikoma.model.vm import GuestCommand

        while True:
            with contextlib.suppress(HypervisorError):
                if await self._engine.agent_ready(self._name):
                    await self._engine.execute(self._name, GuestCommand(("sh", "-c", _NETWORK)))
                    return
            await asyncio.sleep(_POLL_S)

    def _plug_disk_in(self) -> None:
        """Let QEMU's disk be the VM's own, if it has ever run."""
        from tachikoma.host.clock import SystemClock
        from tachikoma.hypervisor.qemu.machine import Machines

        if self._ours.stat().st_size == 0:
            return  # an empty one stands for the image: QEMU's first start makes the disk
        machines = Machines(directory=self._theirs.parent.parent, clock=SystemClock())
        machine = machines.load(self._name)
        assert machine is not None
        machines.save(replace(machine, fresh=False))
        self._theirs.unlink(missing_ok=True)
        self._theirs.symlink_to(self._ours)

    def _take_disk(self) -> None:
        """Let the disk that QEMU has made be the VM's; QEMU goes on with it where it is."""
        if not self._theirs.is_symlink():
            self._theirs.replace(self._ours)
            self._theirs.symlink_to(self._ours)

    async def lives(self) -> bool:
        found = await self._engine.find(self._name)
        return found is not None and found.state.value == "running"

    async def press_power_button(self) -> None:
        place = self._store.own / "qemu" / "vms" / self._name / "run.json"
        from tachikoma.hypervisor.qemu.machine import decode_run
        from tachikoma.hypervisor.qemu.power import MONITOR
        from tachikoma.model.errors import HypervisorError

        sockets = decode_run(json.loads(place.read_bytes())).sockets
        with contextlib.suppress(HypervisorError):  # it is going down already
            async with self._conversation(sockets / MONITOR, deadline_s=3) as monitor:
                await monitor.power_down()

    async def cut_power(self) -> None:
        await self._engine.stop(self._name, grace_s=0)


def _laid_out(store: Store, name: str, dirs: list[Dir]) -> Iterator[tuple[str, Path, bool]]:
    """Give each tag with the directory that its mount's root is to be.

    Named shares are directories in it: bind mounts, in a mount namespace of this process.
    """
    tags = {each.tag: [one for one in dirs if one.tag == each.tag] for each in dirs}
    libc = ctypes.CDLL(None, use_errno=True)
    if any(each.name for each in dirs):
        _check(libc.unshare(_CLONE_NEWNS), "unshare")
        _check(libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None), "mount")
    for tag, shares in tags.items():
        if not shares[0].name:
            yield tag, shares[0].path, shares[0].read_only
            continue
        root = store.own / "shares" / name / tag
        for each in shares:
            (root / each.name).mkdir(parents=True, exist_ok=True, mode=0o755)
            source, target = os.fsencode(each.path), os.fsencode(root / each.name)
            _check(libc.mount(source, target, None, _MS_BIND | _MS_REC, None), str(each.path))
        yield tag, root, all(each.read_only for each in shares)


def _check(result: int, what: str) -> None:
    if result != 0:
        sys.stderr.write(f"{what}: {os.strerror(ctypes.get_errno())}\n")
        raise Fail(1, "the double joins shared directories by mounts, which takes root")
