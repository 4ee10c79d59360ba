"""How VMs of QEMU start and end, whatever happens to the processes involved."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tachikoma.host import process
from tachikoma.host.clock import SystemClock, attempts
from tachikoma.hypervisor.qemu.engine import Qemu
from tachikoma.hypervisor.qemu.machine import Machines, Run
from tachikoma.model.errors import AgentError, DiskFullError, HypervisorError
from tachikoma.model.names import VmName
from tachikoma.model.vm import GuestCommand, Launch, Mount, Network, VmState
from tests.live.test_qemu_guest import boot, web_server

pytestmark = pytest.mark.live_qemu

VM = VmName("tachikoma-live-power")
SOON_S = 30.0


def cold(data: Path, runtime: Path) -> Qemu:
    """Give an engine whose VMs all start by booting."""
    return Qemu(data=data, runtime=runtime, clock=SystemClock(), snapshots=False)


@dataclass(frozen=True)
class Place:
    """An engine with its directories, and a directory to share."""

    engine: Qemu
    data: Path
    runtime: Path
    code: Path

    def another_engine(self) -> Qemu:
        """What another command would work with."""
        return cold(self.data, self.runtime)

    def run(self, vm: VmName = VM) -> Run:
        found = Machines(directory=self.data / "vms", clock=SystemClock()).left_over(vm)
        assert found is not None
        return found

    async def state(self, vm: VmName = VM) -> VmState:
        info = await self.another_engine().find(vm)
        assert info is not None
        return info.state

    async def make(self, vm: VmName = VM) -> None:
        await self.engine.clone("debian", vm)
        await self.engine.configure(vm, cpus=2, memory_mib=1024)

    @property
    def launch(self) -> Launch:
        return Launch(mounts=(Mount("code", self.code),))

    def processes(self) -> list[tuple[str, ...]]:
        found = [process.command_line(int(path.name)) for path in Path("/proc").glob("[0-9]*")]
        own = os.fspath(self.runtime)
        return [argv for argv in found if any(own in part for part in argv)]


@pytest.fixture
async def place(own_home: Path, live_image_data: Path) -> AsyncIterator[Place]:
    data, code = own_home / "data", own_home / "code"
    data.mkdir()
    code.mkdir()
    (data / "images").symlink_to(live_image_data / "images")
    runtime = own_home / "r"
    made = Place(cold(data, runtime), data, runtime, code)
    yield made
    for each in await made.engine.vms():
        await made.engine.stop(each.name, grace_s=0)
        await made.engine.delete(each.name)
    assert made.processes() == []
    assert list(runtime.iterdir() if runtime.exists() else []) == []
    assert list((data / "vms").iterdir()) == []


async def until(condition: Callable[[], bool]) -> None:
    async for _ in attempts(SystemClock(), deadline_s=SOON_S):
        if condition():
            return
    raise AssertionError("it did not come to pass")


async def test_a_halted_vm_keeps_what_it_wrote_and_gets_its_mounts_again(place: Place) -> None:
    await place.make()
    for expected, grace_s in (("", 90), ("kept", 0)):
        await boot(place.engine, VM, place.launch)
        ended = await place.engine.execute(VM, GuestCommand(("cat", "/root/file")))
        assert ended.stdout.decode() == expected
        mount = "mount -t virtiofs code /mnt && echo seen > /mnt/seen"
        write = "printf kept > /root/file"
        command = GuestCommand(("sh", "-c", f"{mount} && {write}"), deadline_s=SOON_S)
        assert (await place.engine.execute(VM, command)).status == 0
        assert (place.code / "seen").read_text() == "seen\n"
        (place.code / "seen").unlink()
        await place.engine.stop(VM, grace_s=grace_s)
        assert await place.state() is VmState.STOPPED
        assert place.processes() == []


async def test_the_open_network_reaches_the_host_and_the_proxy_at_its_address(
    place: Place,
) -> None:
    await place.make()
    with web_server("127.0.0.1") as proxy, web_server("127.0.0.1") as other:
        await boot(place.engine, VM, Launch(network=Network.OPEN, proxy=proxy))
        seen = place.engine.proxy_endpoint(proxy)
        assert await _reaches(place.engine, seen.host, seen.port)
        assert await _reaches(place.engine, "10.0.2.2", other.port)
        await place.engine.stop(VM, grace_s=0)


async def _reaches(engine: Qemu, host: str, port: int) -> bool:
    request = f"exec 3<>/dev/tcp/{host}/{port} && printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3"
    argv = ("timeout", "20", "bash", "-c", f"{request} && cat <&3")
    return b"hello" in (await engine.execute(VM, GuestCommand(argv))).stdout


async def test_a_killed_qemu_is_a_stopped_vm_that_starts_again(place: Place) -> None:
    await place.make()
    await place.engine.start(VM, place.launch)
    run = place.run()
    assert await place.state() is VmState.RUNNING
    os.kill(run.qemu.pid, signal.SIGKILL)
    await until(lambda: not run.qemu.lives())
    assert await place.state() is VmState.STOPPED
    await until(lambda: not any(daemon.lives() for daemon in run.daemons))
    await place.engine.start(VM, place.launch)
    assert await place.state() is VmState.RUNNING
    assert place.run().qemu != run.qemu


@pytest.mark.parametrize("moment", ["at once", "with QEMU up"])
async def test_a_start_whose_command_was_killed_goes_on_or_never_was(
    place: Place, moment: str
) -> None:
    await place.make()
    script = (
        "import asyncio, sys; from pathlib import Path;"
        "from tachikoma.host.clock import SystemClock;"
        "from tachikoma.hypervisor.qemu.engine import Qemu; from tachikoma.model.vm import *;"
        "data, runtime, vm, code = sys.argv[1:];"
        "engine = Qemu("
        "    data=Path(data), runtime=Path(runtime), clock=SystemClock(), snapshots=False"
        ");"
        "asyncio.run(engine.start(vm, Launch(mounts=(Mount('code', Path(code)),))))"
    )
    arguments = [str(place.data), str(place.runtime), VM, str(place.code)]
    record = place.data / "vms" / VM / "run.json"
    with subprocess.Popen([sys.executable, "-c", script, *arguments]) as command:
        log = place.data / "vms" / VM / "qemu.log"
        await until(log.exists if moment == "at once" else record.exists)
        command.kill()
    await place.another_engine().start(VM, place.launch)
    assert await place.state() is VmState.RUNNING
    assert await place.another_engine().address(VM) is not None
    await place.engine.stop(VM, grace_s=0)
    assert place.processes() == []


async def test_of_two_starts_at_once_one_runs_the_vm(place: Place) -> None:
    await place.make()
    await asyncio.gather(
        *(place.another_engine().start(VM, place.launch) for _ in range(2)),
        return_exceptions=True,
    )
    assert await place.state() is VmState.RUNNING
    qemus = [argv for argv in place.processes() if "qemu-system" in argv[0]]
    assert len(qemus) == 1


async def test_a_vm_whose_sockets_vanished_can_be_stopped_and_started(place: Place) -> None:
    await place.make()
    await place.engine.start(VM, place.launch)
    shutil.rmtree(place.runtime)
    assert await place.state() is VmState.RUNNING
    assert await place.engine.address(VM) is not None
    assert not await place.engine.agent_ready(VM)
    with pytest.raises(AgentError):
        await place.engine.execute(VM, GuestCommand(("true",)))
    await place.engine.stop(VM, grace_s=1)
    assert await place.state() is VmState.STOPPED
    assert place.processes() == []
    await place.engine.start(VM, place.launch)
    assert await place.state() is VmState.RUNNING


async def test_a_command_with_another_runtime_directory_finds_the_vm(place: Place) -> None:
    await place.make()
    await place.engine.start(VM, Launch())
    other = cold(place.data, place.data / "elsewhere")
    assert await other.address(VM) == await place.engine.address(VM)
    await other.stop(VM, grace_s=0)
    assert place.processes() == []


async def test_a_running_vm_is_not_deleted_even_without_its_record(place: Place) -> None:
    await place.make()
    await place.engine.start(VM, Launch())
    record = place.data / "vms" / VM / "run.json"
    kept = record.read_bytes()
    record.unlink()
    with pytest.raises(HypervisorError, match="another process is making, running or deleting"):
        await place.engine.delete(VM)
    record.write_bytes(kept)
    assert await place.state() is VmState.RUNNING


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root to make a small disk")
async def test_a_full_disk_leaves_no_vm(place: Place) -> None:
    vms = place.data / "vms"
    vms.mkdir(mode=0o700)
    size = ["-t", "tmpfs", "-o", "size=16k,mode=700", "tmpfs"]
    await process.run(["mount", *size, str(vms)], deadline_s=SOON_S)
    try:
        with pytest.raises(DiskFullError):
            await place.engine.clone("debian", VM)
        assert list(vms.iterdir()) == []
    finally:
        await process.run(["umount", str(vms)], deadline_s=SOON_S)
