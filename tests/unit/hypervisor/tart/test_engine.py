from __future__ import annotations

import json
from pathlib import Path

import pytest

from tachikoma.host.clock import FakeClock
from tachikoma.hypervisor.tart.addresses import Addresses, Way
from tachikoma.hypervisor.tart.engine import Tart
from tachikoma.hypervisor.tart.records import Record, Records
from tachikoma.model.errors import (
    HypervisorError,
    ImageNotFoundError,
    PermissionDeniedError,
    UnsupportedError,
    VmExistsError,
    VmNotFoundError,
    VmNotRunningError,
)
from tachikoma.model.events import silent
from tachikoma.model.names import VmName
from tachikoma.model.vm import (
    Endpoint,
    GuestCommand,
    Launch,
    Mount,
    Network,
    VmInfo,
    VmState,
)
from tests.doubles.tart_double.store import Store
from tests.doubles.tart_tool import DoubleTool, ended, program_of

VM, OTHER = VmName("tachikoma-app-main"), VmName("tachikoma-app-other")
UBUNTU = "ghcr.io/cirruslabs/ubuntu:latest"


async def open_way(_: Endpoint) -> Way:
    return Way.OPEN


def engine_of(tool: DoubleTool) -> Tart:
    program, home = program_of(tool), tool.store.home.parent
    addresses = Addresses(
        program=program, port=22, leases=home / "leases", reach=open_way, now=lambda: 0.0
    )
    records = Records(directory=home / "data" / "tart")
    return Tart(program=program, records=records, addresses=addresses, clock=FakeClock())


@pytest.fixture
def tool(own_home: Path) -> DoubleTool:
    tool = DoubleTool(Store({"HOME": str(own_home)}))
    tool.store.make("ubuntu")
    return tool


@pytest.fixture
def tart(tool: DoubleTool) -> Tart:
    return engine_of(tool)


def mac(tool: DoubleTool, name: str) -> str:
    config = json.loads((tool.store.vms / name / "config.json").read_bytes())
    return str(config["macAddress"])


def records_of(tool: DoubleTool) -> Records:
    return Records(directory=tool.store.home.parent / "data" / "tart")


async def test_a_clone_is_a_vm_with_an_image_and_a_mac_address_of_its_own(
    tart: Tart, tool: DoubleTool
) -> None:
    await tart.clone("ubuntu", VM)
    assert await tart.find(VM) == VmInfo(VM, VmState.STOPPED, "ubuntu", 4, 4096, 2_871_000_000)
    assert ["tart", "set", VM, "--random-mac"] in tool.store.emitted()
    assert mac(tool, VM) != mac(tool, "ubuntu")


async def test_only_our_vms_are_listed_by_name(tart: Tart, tool: DoubleTool) -> None:
    await tart.clone("ubuntu", OTHER)
    await tart.clone("ubuntu", VM)
    tool.store.make("tachikoma-of-another-tool")
    listed = [(info.name, info.image) for info in await tart.vms()]
    assert listed == [(VM, "ubuntu"), (OTHER, "ubuntu"), ("tachikoma-of-another-tool", "")]


async def test_a_vm_by_another_name_cannot_be_touched(tart: Tart, tool: DoubleTool) -> None:
    ubuntu = VmName("ubuntu")
    assert await tart.find(ubuntu) is None
    await tart.delete(ubuntu)
    await tart.stop(ubuntu, grace_s=0)
    with pytest.raises(VmNotFoundError):
        await tart.configure(ubuntu, cpus=1, memory_mib=512)
    assert tool.store.local_names() == ["ubuntu"]
    assert tool.store.emitted() == []


async def test_a_vm_that_is_there_is_never_overwritten(tart: Tart, tool: DoubleTool) -> None:
    await tart.clone("ubuntu", VM)
    tool.store.make(OTHER)
    for vm in (VM, OTHER):
        before = mac(tool, vm)
        with pytest.raises(VmExistsError):
            await tart.clone("ubuntu", vm)
        assert mac(tool, vm) == before
    assert sum(line[1] == "clone" for line in tool.store.emitted()) == 1


async def test_a_vm_whose_making_was_killed_is_none_and_is_made_anew(
    tart: Tart, tool: DoubleTool
) -> None:
    tool.store.make(VM)
    records_of(tool).save(VM, Record("ubuntu", made=False))
    assert await tart.find(VM) is None
    assert await tart.vms() == []
    await tart.clone("ubuntu", VM)
    assert await tart.find(VM) is not None


@pytest.mark.parametrize("command", ["clone", "set"])
async def test_a_making_that_fails_leaves_nothing(
    tart: Tart, tool: DoubleTool, command: str
) -> None:
    tool.store.set(faults={command: "access_date"})
    with pytest.raises(PermissionDeniedError, match="files cannot be written"):
        await tart.clone("ubuntu", VM)
    assert tool.store.local_names() == ["ubuntu"]
    assert records_of(tool).load(VM) is None


async def test_half_a_copy_of_tarts_is_no_vm_and_goes(tart: Tart, tool: DoubleTool) -> None:
    place = tool.store.vms / VM
    place.mkdir()
    (place / "nvram.bin").touch()
    assert await tart.find(VM) is None
    await tart.delete(VM)
    assert not place.exists()


async def test_a_missing_image_is_told_with_what_fetches_it(tart: Tart, tool: DoubleTool) -> None:
    for image in ("nope", "debian", VM):
        with pytest.raises(ImageNotFoundError) as refused:
            await tart.clone(image, OTHER)
        assert f"image pull {image}" in refused.value.hint
    assert tool.store.local_names() == ["ubuntu"]


async def test_an_old_tart_makes_no_vm(tart: Tart, tool: DoubleTool) -> None:
    tool.store.set(version="2.20.0")
    with pytest.raises(HypervisorError, match="too old"):
        await tart.clone("ubuntu", VM)


async def test_a_list_that_fails_once_is_asked_for_again(tart: Tart, tool: DoubleTool) -> None:
    tool.store.set(faults={"list": "bad_config_json"})
    assert await tart.vms() == []


async def test_processors_and_memory_are_set(tart: Tart) -> None:
    await tart.clone("ubuntu", VM)
    await tart.configure(VM, cpus=3, memory_mib=768)
    info = await tart.find(VM)
    assert info is not None
    assert (info.cpus, info.memory_mib) == (3, 768)
    with pytest.raises(VmNotFoundError):
        await tart.configure(OTHER, cpus=3, memory_mib=768)


async def test_a_stopped_vm_has_no_address_and_no_agent(tart: Tart, tool: DoubleTool) -> None:
    await tart.clone("ubuntu", VM)
    assert await tart.address(VM) is None
    assert await tart.address(OTHER) is None
    assert not await tart.agent_ready(VM)
    for vm in (VM, OTHER):
        with pytest.raises(VmNotRunningError):
            await tart.execute(vm, GuestCommand(("true",)))


async def test_the_agent_is_ready_when_it_repeats_what_it_is_told(
    tart: Tart, tool: DoubleTool
) -> None:
    await tart.clone("ubuntu", VM)
    (tool.store.vms / VM / "control.sock").touch()
    tool.script = lambda command, _: (0, f"{command[-1]}\n".encode(), b"")
    assert await tart.agent_ready(VM)
    tool.script = lambda *_: (0, b"", b"")
    assert not await tart.agent_ready(VM), "a line that breaks off ends with status 0"
    tool.script = lambda command, _: ended(command, 0, b"x")
    tool.slow = {"exec"}
    assert not await tart.agent_ready(VM)


async def test_what_cannot_work_is_told_before_anything_starts(tart: Tart) -> None:
    with pytest.raises(VmNotFoundError):
        await tart.start(VM, Launch())
    await tart.clone("ubuntu", VM)
    with pytest.raises(UnsupportedError, match="cannot share"):
        await tart.start(VM, Launch(mounts=(Mount("code", Path("/a:b")),)))
    with pytest.raises(HypervisorError, match="cannot reach a proxy") as refused:
        await tart.start(VM, Launch(proxy=Endpoint("127.0.0.1", 19280)))
    assert "192.168.64.1" in refused.value.hint


async def test_a_deleted_vm_leaves_no_file(tart: Tart, tool: DoubleTool) -> None:
    await tart.clone("ubuntu", VM)
    await tart.delete(VM)
    await tart.delete(VM)
    assert tool.store.local_names() == ["ubuntu"]
    assert not Path(tart.log_of(VM)).parent.exists()


def test_features_say_what_tart_is_and_is_not(
    tart: Tart, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    features = tart.features
    assert (features.engine, features.default_image) == ("tart", "ubuntu")
    assert (features.default_network, features.proxy_bind) == (Network.OPEN, "192.168.64.1")
    assert not features.suspend.available
    assert features.checkpoints.available
    assert "Linux" in features.suspend.why
    assert not features.build_images.available
    assert not features.instant_spawn.available
    assert features.claude_version
    assert features.pull_images.available
    assert "Softnet" in features.proxy_network.why
    (tmp_path / "softnet").touch(mode=0o755)
    assert tart.features.proxy_network.available


def test_guests_reach_the_proxy_at_the_hosts_address(tart: Tart) -> None:
    own = Endpoint("192.168.64.1", 19280)
    assert tart.proxy_endpoint(own) == own
    assert tart.proxy_endpoint(Endpoint("0.0.0.0", 19280)) == own


async def test_there_is_nothing_to_warm(tart: Tart, tool: DoubleTool) -> None:
    await tart.warm("ubuntu", cpus=1, memory_mib=512, report=silent)
    assert tool.store.emitted() == []


async def test_a_vm_is_not_suspended(tart: Tart) -> None:
    with pytest.raises(UnsupportedError) as refused:
        await tart.suspend(VM)
    assert "tachikoma halt" in refused.value.hint


async def test_the_machine_is_looked_at(tart: Tart) -> None:
    names = [check.name for check in await tart.checks()]
    assert names[:3] == ["tart", "tart exec", "softnet"]
