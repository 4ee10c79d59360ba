from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from tachikoma.host import process
from tachikoma.host.clock import FakeClock
from tachikoma.hypervisor.qemu.machine import (
    Machine,
    Machines,
    Process,
    Run,
    boot_id,
    decode_machine,
    decode_run,
    encode_machine,
    encode_run,
    socket_directory,
)
from tachikoma.model.errors import HypervisorError
from tachikoma.model.names import LONGEST, VmName

VM = VmName("tachikoma-app-main")
MACHINE = Machine(VM, "u-1", "52:54:00:01:02:03", "debian", Path("/i/d"), "quiet", 4, 8192)


def this_process() -> Process:
    return Process(os.getpid(), process.start_time(os.getpid()) or "")


def run_of(qemu: Process) -> Run:
    return Run(boot_id(), Path("/run/x"), qemu, (Process(4, "5"),), memory=7)


@pytest.fixture
def machines(tmp_path: Path) -> Machines:
    return Machines(directory=tmp_path / "vms", clock=FakeClock())


async def make(machines: Machines, machine: Machine = MACHINE) -> None:
    async with machines.claimed(machine.name, make=True):
        machines.save(machine)


def note(machines: Machines, run: Run) -> None:
    machines.home(VM).run.write_text(json.dumps(encode_run(run)))


def test_a_machine_is_read_as_it_was_written() -> None:
    assert decode_machine(json.loads(json.dumps(encode_machine(MACHINE)))) == MACHINE


@pytest.mark.parametrize("snapshot", [None, Path("/i/d/snapshots/k")])
def test_a_machine_that_has_never_run_is_read_as_it_was_written(snapshot: Path | None) -> None:
    machine = replace(MACHINE, fresh=True, snapshot=snapshot)
    assert decode_machine(json.loads(json.dumps(encode_machine(machine)))) == machine


def test_a_machine_of_the_future_is_not_guessed_at() -> None:
    with pytest.raises(ValueError, match="version 2 is not known"):
        decode_machine(encode_machine(MACHINE) | {"version": 2})


def test_a_run_is_read_as_it_was_written() -> None:
    run = replace(run_of(Process(3, "77")), port=2222)
    assert decode_run(json.loads(json.dumps(encode_run(run)))) == run


async def test_a_vm_is_there_from_the_moment_its_file_is(machines: Machines) -> None:
    assert machines.names() == []
    async with machines.claimed(VM, make=True):
        assert machines.names() == []
        machines.save(MACHINE)
        assert machines.names() == [VM]
    assert machines.load(VM) == MACHINE


def test_an_absent_vm_is_none(machines: Machines) -> None:
    assert machines.load(VM) is None
    assert machines.running(VM) is None


async def test_a_file_of_somebody_else_is_an_error_with_its_path(machines: Machines) -> None:
    await make(machines)
    machines.home(VM).machine.write_text("{}")
    with pytest.raises(HypervisorError, match=r"machine\.json cannot be read"):
        machines.load(VM)


async def test_it_runs_while_the_recorded_process_lives(machines: Machines) -> None:
    await make(machines)
    note(machines, run_of(this_process()))
    assert machines.running(VM) == run_of(this_process())


async def test_what_waits_to_be_restored_is_alive_but_does_not_run(machines: Machines) -> None:
    await make(machines)
    waiting = replace(run_of(this_process()), waiting=True)
    note(machines, waiting)
    assert machines.running(VM) is None
    assert machines.alive(VM) == waiting
    assert not machines.starting(VM)
    machines.note_port(VM, waiting, 4711)
    assert machines.running(VM) == replace(waiting, waiting=False, port=4711)


@pytest.mark.parametrize(
    ("starter", "abandoned"), [(this_process(), False), (Process(1, "77"), True), (None, True)]
)
def test_what_waits_for_a_command_that_has_ended_is_abandoned(
    starter: Process | None, *, abandoned: bool
) -> None:
    waiting = replace(run_of(this_process()), waiting=True, starter=starter)
    assert waiting.abandoned is abandoned
    assert not replace(waiting, waiting=False).abandoned
    assert decode_run(json.loads(json.dumps(encode_run(waiting)))) == waiting


async def test_a_later_process_with_the_same_id_is_not_taken_for_it(machines: Machines) -> None:
    await make(machines)
    note(machines, run_of(replace(this_process(), started="1")))
    assert machines.running(VM) is None
    assert machines.left_over(VM) is not None


async def test_what_ran_before_the_host_booted_is_forgotten(machines: Machines) -> None:
    await make(machines)
    note(machines, replace(run_of(this_process()), boot_id="another boot"))
    assert machines.running(VM) is None
    assert machines.left_over(VM) is None


async def test_a_record_cut_short_means_that_nothing_runs(machines: Machines) -> None:
    await make(machines)
    machines.home(VM).run.write_text('{"boot_id": ')
    assert machines.running(VM) is None


async def test_the_port_is_kept(machines: Machines) -> None:
    await make(machines)
    run = run_of(this_process())
    assert machines.note_port(VM, run, 4711) == replace(run, port=4711)
    assert machines.running(VM) == replace(run, port=4711)


async def test_a_claimed_vm_cannot_be_claimed_again(machines: Machines) -> None:
    async with machines.claimed(VM, make=True):
        with pytest.raises(HypervisorError, match="another process is making, running or deleting"):
            async with machines.claimed(VM):
                pass
    async with machines.claimed(VM):
        pass


async def test_a_start_is_known_before_it_is_on_record(machines: Machines) -> None:
    assert not machines.starting(VM)
    await make(machines)
    assert not machines.starting(VM)
    async with machines.claimed(VM):  # as a start does, too
        assert machines.starting(VM)
        note(machines, run_of(this_process()))
        assert not machines.starting(VM)


async def test_a_removed_vm_leaves_nothing(machines: Machines, tmp_path: Path) -> None:
    await make(machines)
    async with machines.claimed(VM) as home:
        machines.remove(home)
    assert list((tmp_path / "vms").iterdir()) == []


async def test_half_made_vms_are_swept_away_and_others_stay(machines: Machines) -> None:
    await make(machines)
    half = VmName("tachikoma-app-half")
    async with machines.claimed(half, make=True) as home:
        home.disk.write_bytes(b"x")
        await machines.sweep()
        assert home.disk.exists(), "somebody is making it just now"
    await machines.sweep()
    assert not home.path.exists()
    assert machines.names() == [VM]


def test_the_directory_of_sockets_is_short_and_its_own() -> None:
    longest = VmName("x" * LONGEST)
    runtime = Path("/run/user/1000")
    assert len(str(socket_directory(runtime, longest))) == len(str(runtime)) + 13
    assert socket_directory(runtime, longest) != socket_directory(runtime, VM)
