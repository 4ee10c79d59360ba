"""Restoring, against a scripted QEMU and a scripted guest."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tachikoma.hypervisor.qemu.argv import Hardware, Share, Wiring
from tachikoma.hypervisor.qemu.restore import Restore, restore
from tachikoma.hypervisor.qemu.snapshot import Saved
from tachikoma.model.errors import AgentError, HostError, HypervisorError
from tachikoma.model.vm import Network
from tests.doubles.qmp import Monitor

pytestmark = pytest.mark.live

STATE = bytes(range(256)) * 2048


@pytest.fixture
def hardware(own_home: Path) -> Hardware:
    return Hardware(
        name="tachikoma-app-main",
        uuid="1-2-3",
        cpus=1,
        memory_mib=512,
        mac="52:54:00:01:02:03",
        kernel=Path("/images/vmlinuz"),
        initrd=Path("/images/initrd.img"),
        cmdline="quiet",
        wiring=Wiring(network=Network.PROXY),
        monitor=own_home / "m.sock",
        agent=own_home / "a.sock",
        birth=own_home / "b.sock",
        shares=(Share("code", own_home / "0.sock"), Share("git", own_home / "1.sock")),
        incoming=True,
    )


@pytest.fixture
def saved(own_home: Path) -> Saved:
    made = Saved(own_home / "saved")
    made.path.mkdir()
    made.state.write_bytes(STATE)
    return made


async def test_a_suspended_machine_goes_on_when_all_is_in_its_place(
    hardware: Hardware, saved: Saved
) -> None:
    qemu = Monitor()
    at: list[list[str]] = []
    what = Restore(saved=saved, golden=False, commit=lambda: at.append(list(qemu.heard)))
    async with qemu.listening(hardware.monitor):
        assert await restore(hardware, what) == (35309, None)
    assert qemu.state == STATE
    (before,) = at
    assert qemu.heard == [*before, "cont"]
    assert [name for name in before if name != "query-migrate"] == [
        "qmp_capabilities",
        "migrate-set-capabilities",
        "migrate-incoming",
        *("chardev-add", "device_add") * 2,
        "human-monitor-command",
    ]
    plugged = qemu.arguments["device_add"]
    assert [(each["tag"], each["bus"]) for each in plugged] == [("code", "rp0"), ("git", "rp1")]


async def test_a_golden_machine_is_told_who_it_is(hardware: Hardware, saved: Saved) -> None:
    gone = asyncio.Event()

    async def born(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b'{"born": []}\n')
        await reader.read()
        writer.close()
        gone.set()

    what = Restore(saved=saved, golden=True, commit=lambda: None)
    async with (
        Monitor().listening(hardware.monitor),
        await asyncio.start_unix_server(born, hardware.birth),
    ):
        port, awake = await restore(hardware, what)
        assert port == 35309
        assert awake is not None
        awake.close()
        await gone.wait()


@pytest.mark.parametrize(
    "qemu",
    [
        Monitor(fails=True),
        Monitor(refuses="migrate-incoming"),
        Monitor(refuses="device_add"),
        Monitor(refuses="migrate-set-capabilities"),
    ],
)
async def test_a_machine_that_cannot_go_on_was_never_begun(
    hardware: Hardware, saved: Saved, qemu: Monitor
) -> None:
    def commit() -> None:
        raise AssertionError("it is not ready")

    async with qemu.listening(hardware.monitor):
        with pytest.raises(HypervisorError):
            await restore(hardware, Restore(saved=saved, golden=True, commit=commit))
    assert "cont" not in qemu.heard


async def test_a_state_that_is_gone_is_named(hardware: Hardware, saved: Saved) -> None:
    saved.state.unlink()
    async with Monitor().listening(hardware.monitor):
        with pytest.raises(HostError, match="state"):
            await restore(hardware, Restore(saved=saved, golden=True, commit=lambda: None))


async def test_a_golden_machine_that_does_not_answer_is_an_error(
    hardware: Hardware, saved: Saved
) -> None:
    async with Monitor().listening(hardware.monitor):
        with pytest.raises(AgentError):
            await restore(hardware, Restore(saved=saved, golden=True, commit=lambda: None))
