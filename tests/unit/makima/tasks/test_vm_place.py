from __future__ import annotations

import logging
from pathlib import Path
from uuid import UUID

import pytest

from tachikoma.host.clock import FakeClock
from tachikoma.makima.record import Isolation, Workspace
from tachikoma.makima.tasks.port import Launch
from tachikoma.makima.tasks.vm_place import VmPlace, conversation_argv
from tachikoma.model.errors import VmNotFoundError, VmNotRunningError
from tachikoma.model.errors_fleet import PlaceLostError
from tachikoma.model.events import Report, silent
from tachikoma.model.names import VmName
from tachikoma.model.vm import Endpoint
from tachikoma.ssh.memory import MemoryShell
from tachikoma.ssh.port import Login
from tachikoma.vm.requests import (
    DestroyOutcome,
    DestroyRequest,
    How,
    ReachOutcome,
    ReachRequest,
    SpawnOutcome,
    SpawnRequest,
    Target,
)

TASK = UUID("550e8400-e29b-41d4-a716-446655440000")
WORKSPACE = Workspace(Path("/repos/app.git"), Path("/srv/task-1"), "makima/task-1", "abc")
NAME = VmName("tachikoma-app-makima-task-1")
TARGET = Target(cwd=Path("/repos/app.git"), name="makima/task-1")


class MemoryVms:
    """VMs of which it is only known whether they are there and run."""

    def __init__(self) -> None:
        self.there = False
        self.runs = False
        self.asked: list[object] = []

    async def spawn(self, request: SpawnRequest, report: Report) -> SpawnOutcome:
        del report
        self.asked.append(request)
        self.there = self.runs = True
        return SpawnOutcome(
            name=NAME,
            repository=WORKSPACE.repository,
            branch=WORKSPACE.branch,
            worktree=WORKSPACE.worktree,
            login=self._login(),
            how=How.CREATED,
            steps=(),
        )

    async def reach(self, request: ReachRequest, report: Report) -> ReachOutcome:
        del report
        self.asked.append(request)
        if not self.there:
            raise VmNotFoundError("there is no VM", hint="spawn it")
        if not self.runs:
            raise VmNotRunningError("it does not run", hint="spawn it")
        return ReachOutcome(NAME, WORKSPACE.branch, WORKSPACE.worktree, self._login())

    async def destroy(self, request: DestroyRequest, report: Report) -> DestroyOutcome:
        del report
        self.asked.append(request)
        if not self.there:
            raise VmNotFoundError("there is no VM", hint="spawn it")
        self.there = self.runs = False
        return DestroyOutcome(NAME, WORKSPACE.branch, WORKSPACE.worktree)

    def _login(self) -> Login:
        return MemoryShell().login(NAME, Endpoint("127.0.0.1", 2222), "user")


@pytest.fixture
def vms() -> MemoryVms:
    return MemoryVms()


@pytest.fixture
def place(vms: MemoryVms) -> VmPlace:
    return VmPlace(vms=vms, shell=MemoryShell(), clock=FakeClock())


async def test_a_place_is_the_vm_of_the_tasks_branch(place: VmPlace, vms: MemoryVms) -> None:
    await place.bring_up(TASK, WORKSPACE, silent)
    assert vms.asked == [SpawnRequest(cwd=WORKSPACE.worktree, branch=WORKSPACE.branch)]
    assert place.isolation is Isolation.VM
    assert place.api_url("https://server.example") == "http://127.0.0.1:39786"


async def test_it_is_found_while_it_runs(place: VmPlace, vms: MemoryVms) -> None:
    assert await place.find(TASK, WORKSPACE) is None
    vms.there = True
    assert await place.find(TASK, WORKSPACE) is None
    vms.runs = True
    assert await place.find(TASK, WORKSPACE) is not None
    assert vms.asked == [ReachRequest(TARGET)] * 3


async def test_an_agent_whose_vm_was_stopped_or_deleted_is_lost(
    place: VmPlace, vms: MemoryVms
) -> None:
    agent = await place.bring_up(TASK, WORKSPACE, silent)
    vms.runs = False
    with pytest.raises(PlaceLostError, match="it does not run"):
        await agent.state()
    vms.there = False
    with pytest.raises(PlaceLostError, match="there is no VM"):
        await agent.state()


async def test_taking_down_destroys_it_by_force_and_is_nothing_to_one_that_is_gone(
    place: VmPlace, vms: MemoryVms
) -> None:
    await place.bring_up(TASK, WORKSPACE, silent)
    await place.take_down(TASK, WORKSPACE)
    await place.take_down(TASK, WORKSPACE)
    assert vms.asked[1:] == [DestroyRequest(TARGET, force=True)] * 2


async def test_what_does_not_enter_the_vm_is_named_without_its_value(
    place: VmPlace, vms: MemoryVms, caplog: pytest.LogCaptureFixture
) -> None:
    agent = await place.bring_up(TASK, WORKSPACE, silent)
    vms.runs = False
    env = {"ANTHROPIC_API_KEY": "sk-secret", "MINE": "1"}
    with caplog.at_level(logging.WARNING), pytest.raises(PlaceLostError):
        await agent.start(Launch(["claude"], WORKSPACE.worktree, env, b""))
    assert "ANTHROPIC_API_KEY" in caplog.text
    assert "sk-secret" not in caplog.text
    assert "MINE" not in caplog.text


def test_a_conversation_notices_a_dead_vm_and_brings_the_door() -> None:
    ssh = ["ssh", "-F", "/dev/null", "--", "host", "line"]
    alive = ["-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3"]
    assert conversation_argv(ssh, door=None) == ["ssh", *alive, *ssh[1:]]
    assert conversation_argv(ssh, door=Endpoint("127.0.0.1", 8080)) == [
        *["ssh", *alive, "-o", "ClearAllForwardings=no", "-o", "ExitOnForwardFailure=yes"],
        *["-R", "127.0.0.1:39786:127.0.0.1:8080", *ssh[1:]],
    ]
