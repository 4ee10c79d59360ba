from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from tachikoma.cli.checks import Verdict
from tachikoma.cli.makima.checks import Scene, look_all
from tachikoma.cli.makima.fleet import fleet
from tachikoma.host import files
from tachikoma.model.checks import Check as EngineCheck
from tachikoma.model.errors_fleet import UnreachableError
from tests.unit.cli.makima.records import running
from tests.unit.cli.stand import CommandLine, Output

READY = {
    "MAKIMA_API_KEY": "mk_0123456789",
    "MAKIMA_DAEMON_SERVER_URL": "wss://h.example",
    "MAKIMA_DAEMON_PROCESS_ISOLATION": "vm",
}
BROKEN = EngineCheck("kvm", ok=False, required=True, found="no KVM", fix="load it", why="runs VMs")


async def answers(_url: str) -> None:
    """Be a server that is there."""


async def gone(url: str) -> None:
    raise UnreachableError(f"{url} cannot be reached", hint="start it")


async def looked(
    line: CommandLine, environ: Mapping[str, str], *, there: bool = True
) -> dict[str, tuple[Verdict, str]]:
    with Output() as out, Output() as err:
        door = line.door(out, err)
        door.runtime.environ = {"HOME": str(line.home), **environ}
        loaded = door.runtime.load_makima()
        scene = Scene(door.runtime, fleet(door), loaded, answers if there else gone)
        found = await look_all(scene)
    assert all(check.why for check in found)
    assert all(check.hint for check in found if check.verdict is Verdict.FAIL)
    return {check.name: (check.verdict, check.found) for check in found}


async def test_where_all_is_well_everything_is(line: CommandLine) -> None:
    found = await looked(line, READY)
    assert {verdict for verdict, _ in found.values()} == {Verdict.OK}
    assert found["configuration"][1] == "3 keys set"
    assert found["api key"][1] == "from MAKIMA_API_KEY"
    assert found["server"][1] == "wss://h.example/ws/daemon answers in 0.00 s"
    assert found["database"][1] == "~/.makima/daemon.db: the daemon makes it"
    assert found["worktrees"][1] == "~/.makima/worktrees: the daemon makes it"
    assert found["isolation"][1].startswith("vm: each agent in a VM of its own")


async def test_a_missing_server_and_key_are_told(line: CommandLine) -> None:
    found = await looked(line, {})
    assert found["api key"] == (Verdict.FAIL, "there is none")
    assert found["server"] == (Verdict.FAIL, "nobody says where it is")


async def test_a_server_that_is_not_there_is_told(line: CommandLine) -> None:
    found = await looked(line, READY, there=False)
    assert found["server"] == (Verdict.FAIL, "wss://h.example/ws/daemon cannot be reached")


async def test_warnings_about_the_configuration_are_told(line: CommandLine) -> None:
    found = await looked(line, READY | {"MAKIMA_DAEMON_NONSENSE": "1"})
    assert found["configuration"][0] is Verdict.WARN


async def test_a_database_says_how_many_tasks_and_who_holds_it(line: CommandLine) -> None:
    database = line.home / ".makima" / "daemon.db"
    database.parent.mkdir()
    database.touch()
    line.tasks = lambda: [running()]
    found = await looked(line, READY)
    assert found["database"][1] == "~/.makima/daemon.db: 1 task, no daemon runs"
    lock = database.with_name("daemon.db.lock")
    lock.write_text("4711")
    assert (await looked(line, READY))["database"][1].endswith("no daemon runs")
    descriptor = os.open(lock, os.O_RDWR)
    try:
        assert files.try_lock(descriptor)
        found = await looked(line, READY)
    finally:
        os.close(descriptor)
    assert found["database"][1].endswith("1 task, held by the daemon (process 4711)")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_directories_that_cannot_be_written_are_told(line: CommandLine) -> None:
    closed = line.home / "closed"
    closed.mkdir(mode=0o500)
    environ = READY | {
        "MAKIMA_DAEMON_WORKTREE_BASEDIR": str(closed / "trees"),
        "MAKIMA_DAEMON_LOCALDB_PATH": str(closed / "daemon.db"),
    }
    found = await looked(line, environ)
    assert found["worktrees"] == (Verdict.FAIL, "~/closed cannot be written")
    assert found["database"][0] is Verdict.FAIL


async def test_a_file_where_a_directory_should_be_is_told(line: CommandLine) -> None:
    (line.home / "trees").touch()
    found = await looked(line, READY | {"MAKIMA_DAEMON_WORKTREE_BASEDIR": "~/trees"})
    assert found["worktrees"] == (Verdict.FAIL, "~/trees is no directory")


async def test_agents_on_this_host_take_claude(line: CommandLine, tmp_path: Path) -> None:
    program = tmp_path / "claude"
    host = READY | {
        "MAKIMA_DAEMON_PROCESS_ISOLATION": "worktree",
        "MAKIMA_DAEMON_PROCESS_CLAUDECOMMAND": str(program),
    }
    assert (await looked(line, host))["claude"][0] is Verdict.FAIL
    program.touch(mode=0o755)
    found = await looked(line, host)
    assert found["claude"] == (Verdict.OK, f"{program} version 9.1")
    assert "on this host with your rights" in found["isolation"][1]


async def test_an_engine_that_does_not_work_is_told_or_gone_round(line: CommandLine) -> None:
    line.engine_parts = [BROKEN]
    found = await looked(line, READY)
    assert found["kvm"] == (Verdict.FAIL, "no KVM")
    auto = await looked(line, READY | {"MAKIMA_DAEMON_PROCESS_ISOLATION": "auto"})
    assert auto["isolation"][0] is Verdict.WARN
    assert "kvm" not in auto
