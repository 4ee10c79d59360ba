"""What every engine promises: one body, run against the synthetic one, QEMU, and Tart's double."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tachikoma.host.clock import Clock, FakeClock, SystemClock, attempts
from tachikoma.hypervisor.port import Hypervisor
from tachikoma.hypervisor.qemu.engine import Qemu
from tachikoma.hypervisor.synthetic import Synthetic
from tachikoma.model.errors import (
    HypervisorError,
    ImageNotFoundError,
    VmExistsError,
    VmNotFoundError,
    VmNotRunningError,
)
from tachikoma.model.names import VmName
from tachikoma.model.vm import (
    Endpoint,
    GuestCommand,
    GuestExit,
    Launch,
    Network,
    Stream,
    VmState,
)
from tests.contract.tart_lines import accept
from tests.doubles.tart_world import path_with_double, tart_in, why_no_tart, world

LAUNCH = Launch(network=Network.OPEN)
"""For all: Tart isolates guests only where Softnet is installed."""
VM = VmName("tachikoma-app-main")
OTHER = VmName("tachikoma-app-other")
BOOT_S = 120.0
TALK = ("sh", "-c", "echo out; echo err >&2; exit 7")


@dataclass
class Engine:
    """An engine under test, an image that it has, and the clock that it lives by."""

    hypervisor: Hypervisor
    image: str
    clock: Clock

    async def boot(self, vm: VmName) -> None:
        await self.hypervisor.clone(self.image, vm)
        await self.hypervisor.configure(vm, cpus=2, memory_mib=1024)
        await self.hypervisor.start(vm, LAUNCH)
        async for _ in attempts(self.clock, deadline_s=BOOT_S):
            if await self.hypervisor.agent_ready(vm):
                return
        raise AssertionError("the agent does not answer")


def guest(vm: VmName, launch: Launch | None, command: GuestCommand) -> GuestExit:
    """What a synthetic guest does with the commands of these tests."""
    assert launch is not None
    match command.argv:
        case ("cat",):
            return GuestExit(0, command.stdin, b"")
        case ("id", "-un"):
            return GuestExit(0, f"{command.user}\n".encode(), b"")
        case argv if argv == TALK:
            return GuestExit(7, b"out\n", b"err\n")
        case argv:
            raise AssertionError(f"{vm} was asked to run {argv}")


@pytest.fixture(
    params=[
        "synthetic",
        pytest.param("qemu", marks=[pytest.mark.live_qemu, pytest.mark.timeout(300)]),
        pytest.param("tart", marks=[pytest.mark.live_qemu, pytest.mark.timeout(300)]),
    ]
)
def built(request: pytest.FixtureRequest) -> tuple[str, Path]:
    """Choose the engine, and where its real images are; the synthetic one has none.

    Not async, since building an image runs a loop of its own.
    """
    if request.param == "synthetic":
        return request.param, Path()
    if request.param == "tart" and (why := why_no_tart()):
        pytest.skip(why)
    return request.param, request.getfixturevalue("live_image_data")


@pytest.fixture
async def engine(
    built: tuple[str, Path], own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Engine]:
    name, images = built
    if name == "synthetic":
        fake = FakeClock()
        synthetic = Synthetic(file=None, clock=fake, guest=guest, boot_s=3.0)
        yield Engine(synthetic, synthetic.features.default_image, fake)
        return
    if name == "tart":
        monkeypatch.setenv("PATH", path_with_double())
        store = world(own_home, images)
        tart = tart_in(own_home)
        yield Engine(tart, tart.features.default_image, SystemClock())
        for each in await tart.vms():
            await tart.stop(each.name, grace_s=0)
        for line in store.emitted():
            accept(line)
        return
    data = own_home / "data"
    data.mkdir()
    (data / "images").symlink_to(images / "images")
    clock = SystemClock()
    qemu = Qemu(data=data, runtime=own_home / "r", clock=clock)
    yield Engine(qemu, qemu.features.default_image, clock)
    for each in await qemu.vms():
        await qemu.stop(each.name, grace_s=0)


async def test_a_new_vm_is_stopped_and_known_by_its_name(engine: Engine) -> None:
    hypervisor = engine.hypervisor
    assert await hypervisor.find(VM) is None
    await hypervisor.clone(engine.image, OTHER)
    await hypervisor.clone(engine.image, VM)
    info = await hypervisor.find(VM)
    assert info is not None
    assert (info.name, info.state, info.image) == (VM, VmState.STOPPED, engine.image)
    assert info.disk_bytes > 0
    assert [each.name for each in await hypervisor.vms()] == [VM, OTHER]


async def test_a_vm_is_made_only_once(engine: Engine) -> None:
    await engine.hypervisor.clone(engine.image, VM)
    await engine.hypervisor.configure(VM, cpus=3, memory_mib=512)
    before = await engine.hypervisor.find(VM)
    with pytest.raises(VmExistsError):
        await engine.hypervisor.clone(engine.image, VM)
    assert await engine.hypervisor.find(VM) == before


async def test_without_its_image_there_is_no_vm(engine: Engine) -> None:
    with pytest.raises(ImageNotFoundError):
        await engine.hypervisor.clone("no-such-image", VM)
    assert await engine.hypervisor.vms() == []


async def test_processors_and_memory_are_what_was_last_set(engine: Engine) -> None:
    await engine.hypervisor.clone(engine.image, VM)
    for cpus, memory_mib in ((2, 1024), (3, 768), (3, 768)):
        await engine.hypervisor.configure(VM, cpus=cpus, memory_mib=memory_mib)
        info = await engine.hypervisor.find(VM)
        assert info is not None
        assert (info.cpus, info.memory_mib) == (cpus, memory_mib)


async def test_an_absent_vm_cannot_be_used_and_need_not_be_ended(engine: Engine) -> None:
    hypervisor = engine.hypervisor
    with pytest.raises(VmNotFoundError):
        await hypervisor.configure(VM, cpus=1, memory_mib=512)
    with pytest.raises(VmNotFoundError):
        await hypervisor.start(VM, LAUNCH)
    with pytest.raises(VmNotRunningError):
        await hypervisor.execute(VM, GuestCommand(("true",)))
    assert await hypervisor.address(VM) is None
    assert not await hypervisor.agent_ready(VM)
    await hypervisor.stop(VM, grace_s=5)
    await hypervisor.delete(VM)
    assert await hypervisor.vms() == []


async def test_a_deleted_vm_is_gone_and_its_name_is_free(engine: Engine) -> None:
    await engine.hypervisor.clone(engine.image, VM)
    await engine.hypervisor.delete(VM)
    assert await engine.hypervisor.find(VM) is None
    await engine.hypervisor.delete(VM)
    await engine.hypervisor.clone(engine.image, VM)
    assert await engine.hypervisor.find(VM) is not None


async def test_running_vms_have_addresses_of_their_own_and_cannot_be_deleted(
    engine: Engine,
) -> None:
    hypervisor = engine.hypervisor
    for vm in (VM, OTHER):
        await hypervisor.clone(engine.image, vm)
        await hypervisor.configure(vm, cpus=1, memory_mib=512)
    await asyncio.gather(*(hypervisor.start(vm, LAUNCH) for vm in (VM, OTHER)))
    assert [each.state for each in await hypervisor.vms()] == [VmState.RUNNING] * 2
    first, second = await hypervisor.address(VM), await hypervisor.address(OTHER)
    assert None not in (first, second)
    assert first != second
    with pytest.raises(HypervisorError):
        await hypervisor.delete(VM)
    for vm in (VM, OTHER):
        await hypervisor.stop(vm, grace_s=0)
        assert await hypervisor.address(vm) is None
        await hypervisor.delete(vm)
    assert await hypervisor.vms() == []


async def test_a_life_of_a_vm(engine: Engine) -> None:
    hypervisor = engine.hypervisor
    await engine.boot(VM)
    address = await hypervisor.address(VM)
    await hypervisor.start(VM, LAUNCH)
    assert await hypervisor.address(VM) == address, "it runs already"

    seen: dict[Stream, bytes] = {"stdout": b"", "stderr": b""}

    def on_output(stream: Stream, piece: bytes) -> None:
        seen[stream] += piece

    said = GuestExit(7, b"out\n", b"err\n")
    assert await hypervisor.execute(VM, GuestCommand(TALK)) == said
    assert await hypervisor.execute(VM, GuestCommand(TALK), on_output) == said
    assert seen == {"stdout": b"out\n", "stderr": b"err\n"}
    given = bytes(range(256)) * 4096
    assert (await hypervisor.execute(VM, GuestCommand(("cat",), stdin=given))).stdout == given
    for user in ("root", "admin"):
        who = await hypervisor.execute(VM, GuestCommand(("id", "-un"), user=user))
        assert who.stdout == f"{user}\n".encode()

    await hypervisor.stop(VM, grace_s=60)
    info = await hypervisor.find(VM)
    assert info is not None
    assert info.state is VmState.STOPPED
    assert not await hypervisor.agent_ready(VM)
    with pytest.raises(VmNotRunningError):
        await hypervisor.execute(VM, GuestCommand(("cat",)))
    await hypervisor.stop(VM, grace_s=60)
    await hypervisor.delete(VM)
    assert await hypervisor.find(VM) is None


async def test_the_proxy_keeps_its_port_and_logs_have_a_place(engine: Engine) -> None:
    assert engine.hypervisor.proxy_endpoint(Endpoint("127.0.0.1", 4711)).port == 4711
    assert engine.hypervisor.log_of(VM)
    assert engine.hypervisor.features.engine
