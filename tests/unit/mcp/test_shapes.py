from __future__ import annotations

from pathlib import Path

from tachikoma.cli import encode
from tachikoma.mcp.shapes import Destroyed, Halted, Looked, Spawned, Vm
from tachikoma.model.names import VmName
from tachikoma.model.vm import Endpoint, VmState
from tachikoma.ssh.port import Login
from tachikoma.vm.requests import (
    DestroyOutcome,
    HaltOutcome,
    How,
    SpawnOutcome,
    StatusOutcome,
    VmReport,
)

NAME = VmName("tachikoma-app-main")
REPORT = VmReport(
    name=NAME,
    branch="main",
    repository=Path("/src/app/.git"),
    repository_name="app",
    worktree=Path("/src/app"),
    engine="qemu",
    image="debian",
    state=VmState.RUNNING,
    cpus=4,
    memory_mib=8192,
    disk_bytes=1 << 20,
    created=1.5,
    last_used=2.5,
)


def test_a_vm_looks_as_in_the_envelope_of_the_command_line() -> None:
    assert Vm.of(REPORT).model_dump() == encode.vm(REPORT)
    outcome = StatusOutcome(
        vm=REPORT,
        phase="ready",
        address=Endpoint("127.0.0.1", 2022),
        mounts=(("work", Path("/src/app")),),
        log="/logs/x",
    )
    assert Looked.seen(outcome).model_dump() == encode.status(outcome)


def test_outcomes_look_as_in_the_envelope_of_the_command_line() -> None:
    login = Login(NAME, Endpoint("::1", 22), "admin", Path("/key"), Path("/known"))
    spawned = SpawnOutcome(
        name=NAME,
        repository=Path("/src/app/.git"),
        branch="main",
        worktree=Path("/src/app"),
        login=login,
        how=How.CREATED,
        steps=(("clone", 0.12345),),
    )
    given = Spawned.of(spawned, ssh=["ssh"], notices=["new"]).model_dump()
    assert given == {**encode.spawned(spawned, ["ssh"]), "notices": ["new"]}
    halted = HaltOutcome(name=NAME, branch="main", was_running=True)
    assert Halted.of(halted).model_dump() == encode.halted(halted)
    for worktree in (Path("/src/app"), None):
        gone = DestroyOutcome(name=NAME, branch="main", worktree=worktree)
        assert Destroyed.of(gone).model_dump() == encode.destroyed(gone)
