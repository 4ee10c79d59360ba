from __future__ import annotations

from tachikoma.hypervisor.port import OnOutput
from tachikoma.hypervisor.synthetic import Synthetic
from tachikoma.model.names import VmName
from tachikoma.model.vm import GuestCommand, GuestExit, Launch, Stream
from tachikoma.vm.journal import overheard
from tests.unit.vm.conftest import Bench

VM = VmName("tachikoma-app-x")


class Talking(Synthetic):
    """An engine whose guest says things in pieces."""

    async def execute(
        self, vm: VmName, command: GuestCommand, on_output: OnOutput | None = None
    ) -> GuestExit:
        assert on_output is not None
        on_output("stdout", b"one\ntw")
        on_output("stderr", b"oh\xff\n")
        on_output("stdout", b"o\nend")
        return GuestExit(0, b"", b"")


async def test_each_whole_line_is_noted_and_handed_on(bench: Bench) -> None:
    engine = Talking(file=None, clock=bench.clock, guest=bench.guest)
    noted: list[str] = []
    heard: list[tuple[Stream, bytes]] = []
    through = overheard(engine, noted.append)
    await through.execute(
        VM, GuestCommand(("x",), stdin=b"secret"), lambda *told: heard.append(told)
    )
    assert noted == ["one", "oh\ufffd", "two", "end"]
    assert heard == [("stdout", b"one\ntw"), ("stderr", b"oh\xff\n"), ("stdout", b"o\nend")]


async def test_everything_else_is_the_engines(bench: Bench) -> None:
    through = overheard(bench.engine, lambda _: None)
    await through.clone("synthetic", VM)
    await through.start(VM, Launch())
    assert await through.find(VM) == await bench.engine.find(VM)
    assert through.log_of(VM) == bench.engine.log_of(VM)
