"""What every state store promises."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tachikoma.host import process
from tachikoma.host.clock import Clock, FakeClock, SystemClock, attempts
from tachikoma.model.errors import VmBusyError
from tachikoma.model.events import Event, Notice, silent
from tachikoma.model.names import VmName
from tachikoma.state.json_file import JsonFileStore
from tachikoma.state.memory import MemoryStore
from tachikoma.state.port import Ledger, StateStore
from tests.unit.state.test_json_file import record

VM = VmName("tachikoma-repo-main")
OTHER = VmName("tachikoma-repo-other")
Make = Callable[[Path], StateStore]


def json_file(directory: Path, clock: Clock | None = None) -> JsonFileStore:
    return JsonFileStore(
        file=directory / "state.json", locks=directory / "locks", clock=clock or FakeClock()
    )


@pytest.fixture(params=["json_file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> StateStore:
    if request.param == "memory":
        return MemoryStore(clock=FakeClock())
    return json_file(tmp_path)


def test_nothing_is_recorded_at_first(store: StateStore) -> None:
    assert store.read() == Ledger()


def test_what_is_put_is_read_again_and_what_is_dropped_is_not(store: StateStore) -> None:
    with store.edit() as ledger:
        ledger.put(record("main"))
        ledger.put(record("other"))
    with store.edit() as ledger:
        ledger.drop(record("main").name)
        ledger.put(replace(record("other"), last_used=9.0))
    assert list(store.read().vms.values()) == [replace(record("other"), last_used=9.0)]


def test_an_error_within_an_edit_records_nothing(store: StateStore) -> None:
    def fail() -> None:
        with store.edit() as ledger:
            ledger.put(record())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert store.read() == Ledger()
    with store.edit() as ledger:
        ledger.put(record())
    assert len(store.read().vms) == 1


def test_changing_what_was_read_changes_nothing(store: StateStore) -> None:
    store.read().put(record())
    assert store.read() == Ledger()
    with store.edit() as ledger:
        pass
    ledger.put(record())
    assert store.read() == Ledger()


def test_a_record_is_found_by_its_branch_and_by_any_of_its_tokens(store: StateStore) -> None:
    mine = record("main", token_hashes=("aa", "bb"))
    with store.edit() as ledger:
        ledger.put(mine)
        ledger.put(record("other", token_hashes=("cc",)))
    seen = store.read()
    assert seen.of_branch(Path("/src/repo/.git"), "main") == mine
    assert seen.of_branch(Path("/src/fork/.git"), "main") is None
    assert seen.of_token("bb") == mine
    assert seen.of_token("dd") is None


async def test_one_holder_at_a_time_and_the_next_one_follows(store: StateStore) -> None:
    order: list[str] = []

    holds, waits, go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def first() -> None:
        async with store.hold(VM, "first", report=silent, deadline_s=0):
            order.append("first in")
            holds.set()
            await go_on.wait()
            order.append("first out")

    async def second() -> None:
        async with store.hold(VM, "second", report=lambda _: waits.set(), deadline_s=1e9):
            order.append("second in")

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(first())
        await holds.wait()
        tasks.create_task(second())
        await waits.wait()
        go_on.set()
    assert order == ["first in", "first out", "second in"]


async def test_who_waits_hears_once_who_holds_it_and_in_the_end_gives_up(
    store: StateStore,
) -> None:
    seen: list[Event] = []
    async with store.hold(VM, "spawn main", report=silent, deadline_s=1):
        with pytest.raises(VmBusyError, match=rf"process {os.getpid()} \(spawn main, for 60 s\)"):
            async with store.hold(VM, "halt", report=seen.append, deadline_s=60):
                pass
    assert seen == [Notice(f"{VM}: waiting for process {os.getpid()} (spawn main)")]


async def test_different_vms_are_held_side_by_side(store: StateStore) -> None:
    async with (
        store.hold(VM, "spawn", report=silent, deadline_s=0),
        store.hold(OTHER, "spawn", report=silent, deadline_s=0),
    ):
        with store.edit() as ledger:
            ledger.put(record())
    assert len(store.read().vms) == 1


async def test_a_hold_ends_with_an_error_in_it(store: StateStore) -> None:
    with pytest.raises(ZeroDivisionError):
        async with store.hold(VM, "spawn", report=silent, deadline_s=0):
            raise ZeroDivisionError
    seen: list[Event] = []
    async with store.hold(VM, "again", report=seen.append, deadline_s=0):
        assert seen == []


async def test_a_hold_ends_when_its_task_is_cancelled(store: StateStore) -> None:
    holds = asyncio.Event()

    async def work() -> None:
        async with store.hold(VM, "spawn", report=silent, deadline_s=0):
            holds.set()
            await asyncio.Event().wait()

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(work())
        await holds.wait()
        task.cancel()
    seen: list[Event] = []
    async with store.hold(VM, "again", report=seen.append, deadline_s=0):
        assert seen == []


# What only shows between processes, for the store that is shared by them.

PRELUDE = """
import asyncio, os, signal, sys
from dataclasses import replace
from pathlib import Path
from tachikoma.host.clock import SystemClock
from tachikoma.model.events import silent
from tachikoma.model.names import VmName
from tachikoma.state.json_file import JsonFileStore
from tachikoma.state.port import VmRecord

directory, who = Path(sys.argv[1]), sys.argv[2]
store = JsonFileStore(
    file=directory / "state.json", locks=directory / "locks", clock=SystemClock()
)

def record(branch):
    return VmRecord(
        name=VmName(f"tachikoma-repo-{branch}"), repository=Path("/r"), repository_name="repo",
        branch=branch, worktree=Path("/w"), engine="e", image="i", created=0.0, last_used=0.0,
    )
"""

ADD = """
for turn in range(100):
    with store.edit() as ledger:
        ledger.put(record(f"{who}-{turn}"))
        shared = ledger.vms.get(VmName("tachikoma-repo-shared"), record("shared"))
        ledger.put(replace(shared, last_used=shared.last_used + 1))
"""

ADD_FOR_EVER = """
turn = 0
while True:
    with store.edit() as ledger:
        ledger.put(replace(record(who), last_used=float(turn)))
    print(turn, flush=True)
    turn += 1
"""

STAY_IN_EDIT = """
with store.edit() as ledger:
    ledger.put(record(who))
    print("within", flush=True)
    signal.pause()
"""

STAY_IN_HOLD = """
async def main():
    async with store.hold(VmName(who), "a long one", report=silent, deadline_s=0):
        print("within", flush=True)
        signal.pause()
asyncio.run(main())
"""

HOLD_AND_COUNT = """
async def main():
    for turn in range(30):
        async with store.hold(VmName("tachikoma-repo-main"), who, report=silent, deadline_s=60):
            counter = directory / "counter"
            seen = int(counter.read_text()) if counter.exists() else 0
            inside = directory / "inside"
            os.close(os.open(inside, os.O_CREAT | os.O_EXCL))
            counter.write_text(str(seen + 1))
            inside.unlink()
asyncio.run(main())
"""


def script(body: str, directory: Path, who: str) -> list[str]:
    return [sys.executable, "-c", PRELUDE + body, str(directory), who]


async def said(log: Path, text: str) -> None:
    async for _ in attempts(SystemClock(), deadline_s=15, most_s=0.05):
        if text in log.read_text():
            return
    raise AssertionError(f"{log} never said {text!r}: {log.read_text()}")


async def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    async for _ in attempts(SystemClock(), deadline_s=5, most_s=0.05):
        process.reap(pid)
        if process.start_time(pid) is None:
            return
    raise AssertionError(f"{pid} survived SIGKILL")


@pytest.mark.live
async def test_two_processes_that_edit_at_once_lose_no_update(tmp_path: Path) -> None:
    async with asyncio.TaskGroup() as tasks:
        for who in ("one", "two"):
            tasks.create_task(process.run(script(ADD, tmp_path, who), deadline_s=18))
    vms = json_file(tmp_path).read().vms
    assert len(vms) == 201
    assert vms[VmName("tachikoma-repo-shared")].last_used == 200


@pytest.mark.live
async def test_a_process_killed_within_an_edit_changes_nothing_and_blocks_nobody(
    tmp_path: Path,
) -> None:
    store = json_file(tmp_path)
    with store.edit() as ledger:
        ledger.put(record("before"))
    log = tmp_path / "log"
    pid = process.detach(script(STAY_IN_EDIT, tmp_path, "killed"), log=log)
    try:
        await said(log, "within")
    finally:
        await kill(pid)
    with store.edit() as ledger:
        ledger.put(record("after"))
    assert [each.branch for each in store.read().vms.values()] == ["after", "before"]


@pytest.mark.live
@pytest.mark.parametrize("turns", [1, 3, 8])
async def test_what_an_edit_has_finished_survives_a_kill_at_any_moment(
    tmp_path: Path, turns: int
) -> None:
    log = tmp_path / "log"
    pid = process.detach(script(ADD_FOR_EVER, tmp_path, "killed"), log=log)
    try:
        await said(log, f"{turns}\n")
    finally:
        await kill(pid)
    finished = int(log.read_text().splitlines()[-1])
    kept = json_file(tmp_path).read().vms[VmName("tachikoma-repo-killed")].last_used
    assert kept in (finished, finished + 1)


@pytest.mark.live
async def test_a_vm_held_by_a_killed_process_is_free_at_once(tmp_path: Path) -> None:
    store = json_file(tmp_path, SystemClock())
    log = tmp_path / "log"
    pid = process.detach(script(STAY_IN_HOLD, tmp_path, VM), log=log)
    try:
        await said(log, "within")
        with pytest.raises(VmBusyError, match=rf"process {pid} \(a long one"):
            async with store.hold(VM, "spawn", report=silent, deadline_s=0):
                pass
    finally:
        await kill(pid)
    assert (tmp_path / "locks" / f"{VM}.lock").exists()
    seen: list[Event] = []
    async with store.hold(VM, "spawn", report=seen.append, deadline_s=0):
        assert seen == []
    assert list((tmp_path / "locks").iterdir()) == []


@pytest.mark.live
async def test_processes_never_hold_one_vm_together(tmp_path: Path) -> None:
    async with asyncio.TaskGroup() as tasks:
        for who in ("one", "two", "three"):
            command = script(HOLD_AND_COUNT, tmp_path, who)
            tasks.create_task(process.run(command, deadline_s=18))
    assert (tmp_path / "counter").read_text() == "90"
    assert list((tmp_path / "locks").iterdir()) == []
