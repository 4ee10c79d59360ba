"""The engine with a real QEMU where one is needed, and an image that no guest can boot from."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tachikoma.host import process
from tachikoma.host.clock import SystemClock
from tachikoma.hypervisor.qemu.engine import Qemu
from tachikoma.hypervisor.qemu.machine import Machine
from tachikoma.model.errors import (
    CommandFailed,
    HypervisorError,
    HypervisorMissingError,
    ImageError,
    ImageNotFoundError,
    VmExistsError,
)
from tachikoma.model.names import VmName
from tachikoma.model.vm import Endpoint, Launch, Mount, VmState

VM = VmName("tachikoma-app-main")
needs_qemu = pytest.mark.skipif(
    not (process.which("qemu-system-x86_64") and process.which("qemu-img")),
    reason="QEMU is not installed",
)


@pytest.fixture
def data(own_home: Path) -> Path:
    return own_home / 'my "data", all'


@pytest.fixture
def qemu(data: Path, own_home: Path) -> Qemu:
    return Qemu(data=data, runtime=own_home / "r", clock=SystemClock())


async def add_image(data: Path, name: str = "debian", digest: str = "d1") -> Path:
    """Make an image with an empty disk and a kernel that is none, under a link as images are."""
    store = data / "images" / ".store" / digest
    store.mkdir(parents=True)
    disk = str(store / "disk.qcow2")
    await process.run(["qemu-img", "create", "-q", "-f", "qcow2", disk, "1M"], deadline_s=20)
    (store / "vmlinuz").write_bytes(b"no kernel")
    (store / "initrd.img").write_bytes(b"")
    (store / "image.json").write_text(json.dumps({"name": name, "kernel_cmdline": "quiet"}))
    link = data / "images" / name
    link.unlink(missing_ok=True)
    link.symlink_to(Path(".store") / digest)
    return store


def files_of(data: Path) -> set[str]:
    return {path.name for path in (data / "vms" / VM).iterdir()}


async def start_in_vain(qemu: Qemu) -> None:
    """Start as far as QEMU, which does not take that kernel."""
    with pytest.raises(HypervisorError, match="QEMU did not start the VM"):
        await qemu.start(VM, Launch())


async def test_without_vms_there_is_an_empty_list(qemu: Qemu, data: Path) -> None:
    assert await qemu.vms() == []
    assert await qemu.find(VM) is None
    assert await qemu.address(VM) is None
    assert not await qemu.agent_ready(VM)
    assert not data.exists()


@pytest.mark.parametrize("name", ["nope", "../images/debian", "/etc", "", ".store"])
async def test_a_missing_image_leaves_nothing(qemu: Qemu, data: Path, name: str) -> None:
    with pytest.raises(ImageNotFoundError):
        await qemu.clone(name, VM)
    assert not (data / "vms").exists()


async def test_an_unreadable_image_is_named(qemu: Qemu, data: Path) -> None:
    (data / "images" / "debian").mkdir(parents=True)
    (data / "images" / "debian" / "image.json").write_text("{")
    with pytest.raises(ImageError, match="image debian cannot be read"):
        await qemu.clone("debian", VM)


async def test_without_qemu_the_package_is_named(
    qemu: Qemu, data: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data / "images" / "debian").mkdir(parents=True)
    (data / "images" / "debian" / "image.json").write_text("{}")
    monkeypatch.setenv("PATH", str(own_home))
    with pytest.raises(HypervisorMissingError) as caught:
        await qemu.clone("debian", VM)
    assert caught.value.hint == "install the package qemu-utils"
    assert await qemu.vms() == []


def test_the_proxy_is_at_the_same_port_of_an_address_of_its_own(qemu: Qemu) -> None:
    assert qemu.proxy_endpoint(Endpoint("127.0.0.1", 4711)) == Endpoint("10.0.2.100", 4711)


def test_it_says_what_it_can_do(qemu: Qemu) -> None:
    assert qemu.features.instant_spawn.available
    assert qemu.features.suspend.available
    assert "nothing in the VM uses its shared directories" in qemu.features.suspend.why


@pytest.mark.live
@needs_qemu
async def test_a_clone_stands_on_the_image_as_it_is_now(qemu: Qemu, data: Path) -> None:
    old = await add_image(data, digest="old")
    await qemu.clone("debian", VM)
    assert files_of(data) == {"machine.json", "disk.qcow2", "lock"}
    await add_image(data, digest="new")
    await start_in_vain(qemu)
    machine = json.loads((data / "vms" / VM / "machine.json").read_bytes())
    assert machine["base"] == str(old)
    assert machine["cmdline"] == "quiet"
    seen = await process.run(
        ["qemu-img", "info", "--output=json", str(data / "vms" / VM / "disk.qcow2")], deadline_s=20
    )
    assert json.loads(seen.stdout)["backing-filename"] == str(old / "disk.qcow2")


@pytest.mark.live
@needs_qemu
async def test_every_vm_has_an_address_of_its_own_on_the_wire(qemu: Qemu, data: Path) -> None:
    await add_image(data)
    other = VmName("tachikoma-app-other")
    await qemu.clone("debian", VM)
    await qemu.clone("debian", other)
    macs = {
        json.loads((data / "vms" / name / "machine.json").read_bytes())["mac"]
        for name in (VM, other)
    }
    assert len(macs) == 2
    assert all(mac.startswith("52:54:00:") for mac in macs)


@pytest.mark.live
@needs_qemu
async def test_of_two_clones_at_once_one_makes_the_vm(qemu: Qemu, data: Path) -> None:
    await add_image(data)
    ended = await asyncio.gather(
        *(qemu.clone("debian", VM) for _ in range(2)), return_exceptions=True
    )
    assert sum(each is None for each in ended) == 1
    assert isinstance(next(each for each in ended if each), HypervisorError)
    assert [info.name for info in await qemu.vms()] == [VM]


@pytest.mark.live
@needs_qemu
async def test_what_a_killed_clone_left_is_no_vm_and_no_hindrance(qemu: Qemu, data: Path) -> None:
    await add_image(data)
    for name in (VM, "tachikoma-app-other"):
        half = data / "vms" / name
        half.mkdir(parents=True)
        (half / "disk.qcow2").write_bytes(b"half")
    assert await qemu.vms() == []
    await qemu.clone("debian", VM)
    assert [path.name for path in (data / "vms").iterdir()] == [VM]


@pytest.mark.live
@needs_qemu
async def test_a_disk_that_cannot_be_made_leaves_a_vm_whose_next_start_makes_it(
    qemu: Qemu, data: Path
) -> None:
    store = await add_image(data)
    await qemu.clone("debian", VM)
    (store / "disk.qcow2").rename(store / "aside")
    with pytest.raises(CommandFailed):
        await qemu.start(VM, Launch())
    assert [info.state for info in await qemu.vms()] == [VmState.STOPPED]
    assert files_of(data) == {"machine.json", "lock"}
    (store / "aside").rename(store / "disk.qcow2")
    await start_in_vain(qemu)
    assert "disk.qcow2" in files_of(data)


@pytest.mark.live
@needs_qemu
async def test_only_the_first_start_makes_the_disk(qemu: Qemu, data: Path) -> None:
    await add_image(data)
    await qemu.clone("debian", VM)
    disk = data / "vms" / VM / "disk.qcow2"
    seen = []
    for _ in range(2):
        await start_in_vain(qemu)
        seen.append(disk.stat().st_ino)
    assert seen[0] == seen[1]


class Rebuilding(Qemu):
    """An engine that meets with another command, which builds the image anew just then."""

    moment = ""
    old = Path("/nowhere")

    def _rebuild(self, at: str) -> None:
        if at == self.moment and self.old.exists():
            link = self.old.parent.parent / "debian"
            link.unlink()
            link.symlink_to(Path(".store") / "new")
            shutil.rmtree(self.old)

    def _image(self, name: str) -> tuple[Path, dict[str, Any]]:
        found = super()._image(name)
        self._rebuild("seen")
        return found

    def _machine(self, vm: VmName, image: str) -> Machine:
        made = super()._machine(vm, image)
        self._rebuild("decided")
        return made


@pytest.mark.live
@needs_qemu
@pytest.mark.parametrize("moment", ["seen", "decided"])
async def test_an_image_built_anew_while_a_vm_is_made_is_the_one_it_stands_on(
    data: Path, own_home: Path, moment: str
) -> None:
    old, new = await add_image(data, digest="old"), await add_image(data, digest="new")
    link = data / "images" / "debian"
    link.unlink()
    link.symlink_to(Path(".store") / "old")
    qemu = Rebuilding(data=data, runtime=own_home / "r", clock=SystemClock())
    qemu.moment, qemu.old = moment, old
    await qemu.clone("debian", VM)
    machine = json.loads((data / "vms" / VM / "machine.json").read_bytes())
    assert machine["base"] == str(new)
    assert not old.exists()


@pytest.mark.live
@needs_qemu
async def test_a_vm_that_is_there_is_untouched_by_another_clone(qemu: Qemu, data: Path) -> None:
    await add_image(data)
    await qemu.clone("debian", VM)
    before = (data / "vms" / VM / "machine.json").read_bytes()
    with pytest.raises(VmExistsError):
        await qemu.clone("debian", VM)
    assert (data / "vms" / VM / "machine.json").read_bytes() == before


@pytest.mark.live
@needs_qemu
async def test_a_vm_with_a_broken_file_is_listed_and_can_be_deleted(qemu: Qemu, data: Path) -> None:
    await add_image(data)
    await qemu.clone("debian", VM)
    (data / "vms" / VM / "machine.json").write_text("{")
    assert [(info.name, info.state) for info in await qemu.vms()] == [(VM, VmState.UNKNOWN)]
    with pytest.raises(HypervisorError, match=r"machine\.json cannot be read"):
        await qemu.start(VM, Launch())
    await qemu.delete(VM)
    assert await qemu.vms() == []


@pytest.mark.live
@needs_qemu
async def test_a_start_that_fails_tells_why_and_leaves_nothing_running(
    qemu: Qemu, data: Path, own_home: Path
) -> None:
    store = await add_image(data)
    await qemu.clone("debian", VM)
    (store / "vmlinuz").unlink()
    with pytest.raises(HypervisorError, match="QEMU did not start the VM") as caught:
        await qemu.start(VM, Launch())
    assert "could not open kernel file" in caught.value.details
    assert (await qemu.vms())[0].state is VmState.STOPPED
    assert not (data / "vms" / VM / "run.json").exists()
    assert list((own_home / "r").iterdir()) == []
    assert running_below(own_home) == []


@pytest.mark.live
@needs_qemu
async def test_a_mount_that_is_gone_stops_a_start_before_it_begins(
    qemu: Qemu, data: Path, tmp_path: Path
) -> None:
    await add_image(data)
    await qemu.clone("debian", VM)
    with pytest.raises(HypervisorError, match="gone cannot be shared"):
        await qemu.start(VM, Launch(mounts=(Mount("code", tmp_path / "gone"),)))
    assert (await qemu.vms())[0].state is VmState.STOPPED


def running_below(home: Path) -> list[tuple[str, ...]]:
    found = [process.command_line(int(path.name)) for path in Path("/proc").glob("[0-9]*")]
    return [argv for argv in found if any(os.fspath(home) in part for part in argv)]
