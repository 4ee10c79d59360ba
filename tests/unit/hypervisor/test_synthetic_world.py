from __future__ import annotations

import json
from pathlib import Path

import pytest

from tachikoma.host.clock import FakeClock
from tachikoma.hypervisor.synthetic import Synthetic
from tachikoma.hypervisor.synthetic_world import Keeper, SyntheticVm, World
from tachikoma.model.errors import HostError, HypervisorError
from tachikoma.model.names import VmName
from tests.unit.hypervisor.test_synthetic import COMMAND, LAUNCH, Recorder

VM = VmName("tachikoma-repo-main")


def engine(file: Path, guest: Recorder | None = None) -> Synthetic:
    return Synthetic(file=file, clock=FakeClock(), guest=guest or Recorder())


async def test_the_next_command_finds_everything_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "new" / "synthetic.json"
    first = engine(file)
    await first.build("own", rebuild=False, report=lambda _: None)
    await first.clone("own", VM)
    await first.configure(VM, cpus=2, memory_mib=1024)
    await first.save_checkpoint(VM, "one")
    await first.start(VM, LAUNCH)
    guest = Recorder()
    second = engine(file, guest)
    assert await second.vms() == await first.vms()
    assert await second.images() == await first.images()
    assert await second.checkpoints(VM) == await first.checkpoints(VM) != []
    assert await second.address(VM) == await first.address(VM)
    await second.execute(VM, COMMAND)
    assert guest.asked == [(VM, LAUNCH, COMMAND)]
    await second.stop(VM, grace_s=0)
    await second.delete(VM)
    assert await first.vms() == []


async def test_looking_writes_no_file(tmp_path: Path) -> None:
    assert await engine(tmp_path / "synthetic.json").vms() == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b'{"vms": [{}], "images": []}', b'{"vms": 1, "images": 1}', b"\xff"]
)
async def test_a_damaged_file_is_an_error_that_says_what_to_do(tmp_path: Path, raw: bytes) -> None:
    file = tmp_path / "synthetic.json"
    file.write_bytes(raw)
    with pytest.raises(HypervisorError, match="not what the synthetic engine wrote") as caught:
        await engine(file).vms()
    assert caught.value.hint.startswith(f"remove it: `rm '{file}'`")
    with pytest.raises(HypervisorError):
        await engine(file).clone("synthetic", VM)
    assert file.read_bytes() == raw


async def test_a_file_that_cannot_be_read_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(HostError, match=tmp_path.name):
        await engine(tmp_path).vms()


async def test_a_file_from_before_there_were_checkpoints_is_read(tmp_path: Path) -> None:
    file = tmp_path / "synthetic.json"
    await engine(file).clone("synthetic", VM)
    world = json.loads(file.read_bytes())
    del world["vms"][0]["checkpoints"]
    file.write_text(json.dumps(world))
    assert await engine(file).checkpoints(VM) == []


@pytest.mark.parametrize("file", [None, "synthetic.json"])
def test_an_error_within_an_edit_changes_nothing(tmp_path: Path, file: str | None) -> None:
    keeper = Keeper(file=tmp_path / file if file else None, first=World())

    def fail() -> None:
        with keeper.edit() as world:
            world.vms[VM] = SyntheticVm(name=VM, image="x", port=1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert keeper.read() == World()


def test_the_lowest_free_port_is_given() -> None:
    vms = [SyntheticVm(name=VmName(f"v{port}"), image="x", port=port) for port in (5, 6, 8)]
    world = World({each.name: each for each in vms})
    assert world.free_port(5) == 7
    assert world.free_port(9) == 9
