from __future__ import annotations

from pathlib import Path

from tachikoma.host.clock import FakeClock
from tachikoma.hypervisor.tart.parts import TartParts
from tachikoma.hypervisor.tart.records import Kept, Records
from tachikoma.model.names import VmName

VM = VmName("tachikoma-app-main")


async def test_the_parts_are_made_once_and_look_at_the_same_records(own_home: Path) -> None:
    parts = TartParts(
        environ={"HOME": str(own_home)}, data=own_home / "tart", ssh_port=22, clock=FakeClock()
    )
    assert parts.engine is parts.engine
    assert parts.images is parts.images
    Records(directory=own_home / "tart").keep(VM, Kept("one", 7.0, made=True))
    assert [each.label for each in await parts.checkpoints.checkpoints(VM)] == ["one"]
    assert parts.engine.log_of(VM) == str(own_home / "tart" / VM / "run.log")
