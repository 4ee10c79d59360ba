from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tachikoma.fleet import FleetRuntime, vms_work
from tachikoma.makima.record import Isolation
from tachikoma.makima.settings import (
    DaemonSettings,
    IsolationChoice,
    LocalDbSettings,
    LoggingSettings,
    ProcessSettings,
    ReposSettings,
    ServerSettings,
    WorktreeSettings,
)
from tachikoma.model.checks import Check
from tachikoma.model.errors import HypervisorMissingError
from tachikoma.model.errors_fleet import BookError


class Scripted(FleetRuntime):
    """One whose engine lacks what it is told to lack."""

    missing: Check | Exception | None = None

    async def engine_checks(self) -> list[Check]:
        if isinstance(self.missing, Exception):
            raise self.missing
        return [self.missing] if self.missing else []


def settings(home: Path, isolation: IsolationChoice) -> DaemonSettings:
    return DaemonSettings(
        server=ServerSettings(),
        worktree=WorktreeSettings(base_dir=home / "w", repos_dir=home / "r"),
        process=ProcessSettings(isolation=isolation),
        repos=ReposSettings(home_dir=home / "h"),
        local_db=LocalDbSettings(path=home / "daemon.db"),
        logging=LoggingSettings(),
    )


@pytest.fixture
def runtime(own_home: Path) -> Scripted:
    return Scripted(environ={"HOME": str(own_home)}, cwd=own_home, hypervisor="synthetic")


BROKEN = Check(name="qemu", ok=False, required=True, found="", why="it runs VMs")


@pytest.mark.parametrize(
    ("wanted", "missing", "isolation"),
    [
        ("vm", BROKEN, Isolation.VM),
        ("worktree", None, Isolation.WORKTREE),
        ("auto", None, Isolation.VM),
        ("auto", replace(BROKEN, required=False), Isolation.VM),
        ("auto", BROKEN, Isolation.WORKTREE),
        ("auto", HypervisorMissingError("no"), Isolation.WORKTREE),
    ],
)
async def test_agents_work_in_vms_where_these_work(
    runtime: Scripted,
    own_home: Path,
    wanted: IsolationChoice,
    missing: Check | Exception | None,
    isolation: Isolation,
) -> None:
    runtime.missing = missing
    assert await runtime.isolation_for(settings(own_home, wanted)) is isolation
    assert await vms_work(runtime) is (
        missing is None or missing == replace(BROKEN, required=False)
    )


async def test_a_daemon_is_joined_without_touching_anything(
    runtime: Scripted, own_home: Path
) -> None:
    runtime.use_defaults()
    before = sorted(own_home.rglob("*"))
    await runtime.makima_daemon(settings(own_home, "vm"))
    assert sorted(own_home.rglob("*")) == before


async def test_tasks_of_no_daemon_are_an_error(runtime: Scripted, own_home: Path) -> None:
    with pytest.raises(BookError):
        await runtime.makima_tasks(own_home / "none.db")
