from __future__ import annotations

from pathlib import Path

import pytest

from tachikoma.host.clock import FakeClock
from tachikoma.hypervisor.tart.images import TartImages
from tachikoma.model.errors import (
    ImageError,
    ImageInUseError,
    ImageNotFoundError,
    UnsupportedError,
)
from tachikoma.model.events import Event, StepEnded, StepProgress, StepStarted, silent
from tachikoma.model.names import VmName
from tests.doubles.tart_double.store import Store
from tests.doubles.tart_tool import DoubleTool, program_of

VM = VmName("tachikoma-app-main")
UBUNTU = "ghcr.io/cirruslabs/ubuntu:latest"
PUBLISHED = "ghcr.io/cirruslabs/ubuntu/latest"


@pytest.fixture
def tool(own_home: Path) -> DoubleTool:
    tool = DoubleTool(Store({"HOME": str(own_home)}))
    tool.store.write(tool.store.registry / PUBLISHED)
    return tool


@pytest.fixture
def images(tool: DoubleTool) -> TartImages:
    return TartImages(program=program_of(tool), clock=FakeClock())


async def test_a_pulled_image_is_there_by_its_short_name(images: TartImages) -> None:
    seen: list[Event] = []
    assert await images.images() == []
    info = await images.pull("ubuntu", report=seen.append)
    assert await images.images() == [info]
    assert (info.name, info.size_bytes) == ("ubuntu", 2_000_000_000)
    assert info.digest.startswith("sha256:")
    assert info.contents == {"image": UBUNTU}
    text = f"Fetching {UBUNTU}"
    assert seen[0] == StepStarted("pull", text)
    assert StepProgress(text, 0.41) in seen
    assert StepProgress("pulling NVRAM...") in seen
    assert isinstance(seen[-1], StepEnded)


async def test_local_vms_are_images_and_those_of_branches_are_not(
    images: TartImages, tool: DoubleTool
) -> None:
    tool.store.make("ubuntu")
    tool.store.make(VM)
    await images.pull(UBUNTU, report=silent)
    assert [(info.name, info.contents) for info in await images.images()] == [
        (UBUNTU, {"image": "from a registry"}),
        ("ubuntu", {"local": "VM of Tart"}),
    ]


async def test_an_image_without_its_link_is_dated_by_its_last_use(
    images: TartImages, tool: DoubleTool
) -> None:
    made = tool.store.make("mine")
    (info,) = await images.images()
    assert info.created == pytest.approx(made.stat().st_mtime)


async def test_what_no_registry_has_cannot_be_pulled(images: TartImages) -> None:
    with pytest.raises(ImageNotFoundError):
        await images.pull("ghcr.io/me/nope:1", report=silent)
    with pytest.raises(ImageError, match="no name of an image"):
        await images.pull("my-image", report=silent)


async def test_an_image_is_pushed_and_can_be_pulled_again(
    images: TartImages, tool: DoubleTool
) -> None:
    tool.store.make("mine", cpuCount=3)
    await images.push("mine", "ghcr.io/me/mine:1", report=silent)
    info = await images.pull("ghcr.io/me/mine:1", report=silent)
    assert info.name == "ghcr.io/me/mine:1"


async def test_the_vm_of_a_branch_is_never_pushed(images: TartImages, tool: DoubleTool) -> None:
    tool.store.make(VM)
    with pytest.raises(ImageNotFoundError):
        await images.push(VM, "ghcr.io/me/mine:1", report=silent)
    with pytest.raises(ImageError, match="no name of an image"):
        await images.push("ubuntu", "mine", report=silent)
    assert not any(line[1] == "push" for line in tool.store.emitted())


async def test_images_are_not_built(images: TartImages) -> None:
    with pytest.raises(UnsupportedError) as refused:
        await images.build("ubuntu", rebuild=False, report=silent)
    assert "image pull ubuntu" in refused.value.hint


async def test_an_image_is_deleted_unless_it_is_used_or_somebody_elses(
    images: TartImages, tool: DoubleTool
) -> None:
    await images.pull("ubuntu", report=silent)
    with pytest.raises(ImageInUseError, match=VM):
        await images.delete_image("ubuntu", used_by=[VM])
    await images.delete_image("ubuntu", used_by=[])
    assert await images.images() == []
    with pytest.raises(ImageNotFoundError):
        await images.delete_image("ubuntu", used_by=[])
    tool.store.make("mine")
    with pytest.raises(UnsupportedError) as refused:
        await images.delete_image("mine", used_by=[])
    assert "tart delete mine" in refused.value.hint
    assert tool.store.local_names() == ["mine"]
