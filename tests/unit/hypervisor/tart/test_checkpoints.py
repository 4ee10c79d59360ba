from __future__ import annotations

import pytest

from tachikoma.host.clock import FakeClock
from tachikoma.hypervisor.tart.checkpoints import TartCheckpoints
from tachikoma.hypervisor.tart.engine import Tart
from tachikoma.hypervisor.tart.images import TartImages
from tachikoma.hypervisor.tart.records import Kept
from tachikoma.model.errors import CheckpointError, HypervisorError
from tachikoma.model.names import VmName
from tests.doubles.tart_double.store import Store
from tests.doubles.tart_tool import DoubleTool, program_of
from tests.unit.hypervisor.tart.test_engine import engine_of, mac, records_of

VM = VmName("tachikoma-app-main")
COPY = "checkpoint.tachikoma-app-main.one"


@pytest.fixture
def tool(own_home: object) -> DoubleTool:
    tool = DoubleTool(Store({"HOME": str(own_home)}))
    tool.store.make("ubuntu")
    return tool


@pytest.fixture
async def tart(tool: DoubleTool) -> Tart:
    made = engine_of(tool)
    await made.clone("ubuntu", VM)
    return made


@pytest.fixture
def checkpoints(tart: Tart, tool: DoubleTool) -> TartCheckpoints:
    return TartCheckpoints(
        engine=tart, program=program_of(tool), records=records_of(tool), clock=FakeClock(5.0)
    )


def write_to_disk(tool: DoubleTool, text: str) -> None:
    (tool.store.vms / VM / "disk.img").write_text(text)


def on_disk(tool: DoubleTool) -> str:
    return (tool.store.vms / VM / "disk.img").read_text()


async def test_a_checkpoint_brings_the_disk_back_with_another_mac_address(
    checkpoints: TartCheckpoints, tool: DoubleTool, tart: Tart
) -> None:
    write_to_disk(tool, "before")
    await checkpoints.save_checkpoint(VM, "one")
    write_to_disk(tool, "after")
    assert [(each.label, each.created) for each in await checkpoints.checkpoints(VM)] == [
        ("one", 5.0)
    ]
    await checkpoints.restore_checkpoint(VM, "one")
    assert on_disk(tool) == "before"
    assert mac(tool, VM) != mac(tool, COPY)
    found = await tart.find(VM)
    assert found is not None
    assert found.image == "ubuntu"
    await checkpoints.restore_checkpoint(VM, "one")  # it is still there


async def test_a_checkpoint_is_neither_a_vm_nor_an_image(
    checkpoints: TartCheckpoints, tool: DoubleTool, tart: Tart
) -> None:
    before = await TartImages(program=program_of(tool), clock=FakeClock()).images()
    await checkpoints.save_checkpoint(VM, "one")
    assert [each.name for each in await tart.vms()] == [VM]
    assert await TartImages(program=program_of(tool), clock=FakeClock()).images() == before


async def test_what_is_there_already_and_what_is_not_there_are_told(
    checkpoints: TartCheckpoints,
) -> None:
    await checkpoints.save_checkpoint(VM, "one")
    with pytest.raises(CheckpointError, match="has a checkpoint one already"):
        await checkpoints.save_checkpoint(VM, "one")
    for what in (checkpoints.restore_checkpoint, checkpoints.delete_checkpoint):
        with pytest.raises(CheckpointError) as caught:
            await what(VM, "two")
        assert caught.value.hint == "it has: one"
    await checkpoints.delete_checkpoint(VM, "one")
    assert await checkpoints.checkpoints(VM) == []


async def test_a_vm_that_is_not_stopped_is_not_copied(
    checkpoints: TartCheckpoints, tool: DoubleTool
) -> None:
    await checkpoints.save_checkpoint(VM, "one")
    (tool.store.vms / VM / "state.vzvmsave").touch()
    with pytest.raises(HypervisorError, match="only while it is stopped"):
        await checkpoints.save_checkpoint(VM, "two")
    with pytest.raises(HypervisorError, match="only while it is stopped"):
        await checkpoints.restore_checkpoint(VM, "one")


async def test_a_making_that_was_killed_leaves_no_checkpoint_and_can_be_repeated(
    checkpoints: TartCheckpoints, tool: DoubleTool
) -> None:
    records_of(tool).keep(VM, Kept("one", 1.0, made=False))
    tool.store.make(COPY)
    assert await checkpoints.checkpoints(VM) == []
    write_to_disk(tool, "now")
    await checkpoints.save_checkpoint(VM, "one")
    write_to_disk(tool, "later")
    await checkpoints.restore_checkpoint(VM, "one")
    assert on_disk(tool) == "now"


async def test_a_vm_takes_its_checkpoints_with_it(
    checkpoints: TartCheckpoints, tool: DoubleTool, tart: Tart
) -> None:
    await checkpoints.save_checkpoint(VM, "one")
    await tart.delete(VM)
    assert not (tool.store.vms / COPY).exists()
    assert await checkpoints.checkpoints(VM) == []
