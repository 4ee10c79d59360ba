"""Starting and stopping with real processes: the double's `tart run`, with a pretended guest."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tachikoma.host import process
from tachikoma.host.clock import SystemClock, attempts
from tachikoma.hypervisor.tart.engine import Tart
from tachikoma.hypervisor.tart.records import Records
from tachikoma.model.errors import AgentError, HypervisorError, HypervisorMissingError
from tachikoma.model.names import VmName
from tachikoma.model.vm import GuestCommand, Launch, Network, VmState
from tests.doubles.tart_double.store import Store, lock_owner
from tests.doubles.tart_world import path_with_double, tart_in

pytestmark = [pytest.mark.live, pytest.mark.timeout(60)]

VM = VmName("tachikoma-app-main")
SOON_S = 20.0
OPEN = Launch(network=Network.OPEN)


@dataclass
class Place:
    store: Store
    records: Records
    tart: Tart

    @property
    def owner(self) -> int | None:
        return lock_owner(self.store.vms / VM)

    async def state(self) -> VmState:
        info = await self.tart.find(VM)
        assert info is not None
        return info.state

    async def run_by_hand(self) -> int:
        """Do what a user does who types `tart run`, or an earlier command that was killed."""
        pid = process.detach(["tart", "run", VM], log=self.store.own / "by-hand.log")
        async for _ in attempts(SystemClock(), deadline_s=SOON_S):
            if (self.store.vms / VM / "control.sock").exists():
                return pid
        raise AssertionError("it does not run")


@pytest.fixture
async def place(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    monkeypatch.setenv("PATH", path_with_double())
    store = Store({"HOME": str(own_home)})
    store.set(guest="pretended", agent_wait_s=0.1, ip_poll_s=0.1)
    store.make("ubuntu")
    tart = tart_in(own_home)
    await tart.clone("ubuntu", VM)
    place = Place(store, Records(directory=own_home / "tart"), tart)
    yield place
    if (owner := place.owner) is not None:
        os.kill(owner, signal.SIGKILL)


async def test_a_vm_runs_until_its_guest_shuts_down(place: Place) -> None:
    tart = place.tart
    (place.store.vms / VM / "control.sock").touch()  # left by a run that was killed
    await tart.start(VM, OPEN)
    owner = place.owner
    assert owner is not None
    assert await place.state() is VmState.RUNNING
    await tart.start(VM, OPEN)
    assert place.owner == owner, "it runs already"
    assert (await tart.execute(VM, GuestCommand(("echo", "x")))).stdout == b"x\n"
    with pytest.raises(HypervisorError, match="still runs"):
        await tart.delete(VM)
    await tart.stop(VM, grace_s=SOON_S)
    assert await place.state() is VmState.STOPPED
    assert "Stopping VM" not in Path(tart.log_of(VM)).read_text(), "its power was not cut"
    await tart.stop(VM, grace_s=SOON_S)
    await tart.delete(VM)
    assert await tart.find(VM) is None


async def test_a_deaf_guest_gets_the_power_button_and_a_stubborn_one_loses_power(
    place: Place,
) -> None:
    await place.tart.start(VM, OPEN)
    place.store.set(deaf=True)
    await place.tart.stop(VM, grace_s=SOON_S)
    log = Path(place.tart.log_of(VM))
    assert log.read_text().splitlines() == [
        "Requesting guest OS to stop...",
        "guest has stopped the virtual machine",
    ]
    await place.tart.start(VM, OPEN)
    await place.tart.stop(VM, grace_s=0)
    assert await place.state() is VmState.STOPPED
    assert "Requesting" not in log.read_text()


@pytest.mark.parametrize("fault", ["vm_limit", "net_exclusive"])
async def test_a_start_that_is_refused_says_why_and_leaves_nothing_running(
    place: Place, fault: str
) -> None:
    place.store.set(faults={"run": fault})
    with pytest.raises(HypervisorError, match=f"Tart did not start the VM {VM}") as refused:
        await place.tart.start(VM, OPEN)
    assert refused.value.hint
    assert await place.state() is VmState.STOPPED
    assert place.records.run(VM) is None


async def test_without_softnet_an_isolated_vm_is_refused_with_what_installs_it(
    place: Place,
) -> None:
    with pytest.raises(HypervisorMissingError, match="softnet not found") as refused:
        await place.tart.start(VM, Launch(network=Network.PROXY))
    assert "softnet" in refused.value.hint
    assert await place.state() is VmState.STOPPED


async def test_with_softnet_an_isolated_vm_runs_behind_it(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "softnet").touch(mode=0o755)
    monkeypatch.setenv("PATH", os.pathsep.join((os.environ["PATH"], str(tmp_path))))
    await place.tart.start(VM, Launch(network=Network.PROXY))
    assert await place.state() is VmState.RUNNING
    (line,) = (each for each in place.store.emitted() if each[1] == "run")
    softnet = ["--net-softnet-block", "0.0.0.0/0", "--net-softnet-allow", "192.168.64.1/32"]
    assert line[-5:-1] == softnet
    await place.tart.stop(VM, grace_s=0)


async def test_a_vm_that_somebody_else_started_is_used_and_stopped(place: Place) -> None:
    await place.run_by_hand()
    await place.tart.start(VM, OPEN)
    assert await place.tart.agent_ready(VM)
    await place.tart.stop(VM, grace_s=SOON_S)
    assert place.owner is None


async def test_of_two_starts_at_once_one_runs_the_vm(place: Place) -> None:
    await asyncio.gather(*(place.tart.start(VM, OPEN) for _ in range(2)))
    assert await place.state() is VmState.RUNNING
    await place.tart.stop(VM, grace_s=0)
    assert place.owner is None


async def test_a_vm_that_was_suspended_by_hand_starts_from_its_disk(place: Place) -> None:
    saved = place.store.vms / VM / "state.vzvmsave"
    saved.touch()
    assert await place.state() is VmState.SUSPENDED
    await place.tart.start(VM, OPEN)
    assert not saved.exists()
    assert await place.state() is VmState.RUNNING
    await place.tart.stop(VM, grace_s=0)
    saved.touch()
    await place.tart.stop(VM, grace_s=0)
    assert await place.state() is VmState.STOPPED


async def test_a_command_that_is_too_slow_is_ended_in_the_guest_with_its_children(
    place: Place, tmp_path: Path
) -> None:
    await place.tart.start(VM, OPEN)
    pids = tmp_path / "pids"
    script = f"sleep 100 & echo $! $$ > {pids}.new; mv {pids}.new {pids}; wait"
    slow = GuestCommand(("sh", "-c", script), deadline_s=2.0)
    with pytest.raises(AgentError, match="took longer than 2 s"):
        await place.tart.execute(VM, slow)
    left = [int(pid) for pid in pids.read_text().split()]
    assert len(left) == 2
    async for _ in attempts(SystemClock(), deadline_s=SOON_S):
        if not any(process.start_time(pid) for pid in left):
            break
    else:
        raise AssertionError("they still run")
    await place.tart.stop(VM, grace_s=0)
