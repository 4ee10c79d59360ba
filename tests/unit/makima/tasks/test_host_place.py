from __future__ import annotations

import os
from pathlib import Path
from uuid import uuid4

import pytest

from tachikoma.host.clock import SystemClock
from tachikoma.makima.record import Isolation, Position, Workspace
from tachikoma.makima.tasks.host_place import HostPlace
from tachikoma.makima.tasks.port import Launch
from tachikoma.model.events import silent


@pytest.fixture
def place(tmp_path: Path) -> HostPlace:
    environ = dict(os.environ) | {"ANTHROPIC_MODEL": "opus", "MINE": "no"}
    return HostPlace(root=tmp_path / "agents", environ=environ, home=tmp_path, clock=SystemClock())


def workspace_at(directory: Path) -> Workspace:
    return Workspace(directory, directory, "main", "")


async def test_nobody_is_there_before_the_first_start(place: HostPlace, tmp_path: Path) -> None:
    workspace = workspace_at(tmp_path)
    assert await place.find(uuid4(), workspace) is None
    await place.take_down(uuid4(), workspace)
    assert not (tmp_path / "agents").exists()


def test_the_api_is_at_the_servers_own_url(place: HostPlace) -> None:
    assert place.isolation is Isolation.WORKTREE
    assert place.api_url("https://server.example") == "https://server.example"


@pytest.mark.live
async def test_an_agent_has_the_users_login_and_can_be_found_and_taken_down(
    place: HostPlace, tmp_path: Path
) -> None:
    task, workspace = uuid4(), workspace_at(tmp_path)
    agent = await place.bring_up(task, workspace, silent)
    script = 'echo "$ANTHROPIC_MODEL $MINE$ADDED"; exec sleep 60'
    await agent.start(Launch(["sh", "-c", script], tmp_path, {"ADDED": "yes"}, b""))
    (line,) = (await agent.read(Position())).lines
    assert line.text == "opus yes"
    assert (tmp_path / "agents").stat().st_mode & 0o777 == 0o700
    found = await place.find(task, workspace)
    assert found is not None
    assert (await found.state()).alive
    await place.take_down(task, workspace)
    assert await place.find(task, workspace) is None
    assert not (await agent.state()).started
    for each in (agent, found):
        await each.aclose()
