from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tachikoma.fleet import FleetRuntime
from tachikoma.machine import Ledger, LocalMachine
from tachikoma.makima.dashboard.port import VmUsage
from tachikoma.model.events import Event
from tachikoma.proxy.meter import Tokens
from tachikoma.proxy.rotation import rotate
from tachikoma.proxy.usage import Call
from tachikoma.runtime import Runtime
from tachikoma.vm.requests import SpawnRequest


def line(host: str, verdict: str = "forwarded", **more: object) -> bytes:
    told = {"time": "2026-11-21T12:00:00+00:00", "host": host, "verdict": verdict, "vm": "v"}
    return json.dumps({**told, **more}).encode() + b"\n"


def write(file: Path, *lines: bytes) -> None:
    with file.open("ab") as stream:
        stream.write(b"".join(lines))


def test_a_ledger_takes_in_what_is_there_and_then_what_is_new(tmp_path: Path) -> None:
    file = tmp_path / "requests.jsonl"
    ledger = Ledger(file)
    ledger.read()
    assert list(ledger.all) == []
    write(file, line("a"), line("b", "denied"), b"torn")
    ledger.read()
    write(file, b"\n", line("c"))
    ledger.read()
    rotate(file, largest=0)
    write(file, line("d", "denied"))
    ledger.read()
    assert [each.host for each in ledger.all] == ["a", "b", "c", "d"]
    assert [each.host for each in ledger.denied] == ["b", "d"]
    numbers = [each.id for each in ledger.all]
    assert numbers == sorted(set(numbers))


def test_what_was_refused_is_kept_beyond_all_that_went_well(tmp_path: Path) -> None:
    file = tmp_path / "requests.jsonl"
    write(file, line("old", "denied"), *(line("fine") for _ in range(2500)), line("new", "denied"))
    ledger = Ledger(file)
    ledger.read()
    assert len(ledger.all) == 2000
    assert [each.host for each in ledger.denied] == ["old", "new"]


@pytest.fixture
def runtime(own_home: Path) -> Runtime:
    return FleetRuntime(environ={"HOME": str(own_home)}, cwd=own_home, hypervisor="synthetic")


@pytest.mark.live
async def test_a_machine_without_anything_says_so(runtime: Runtime) -> None:
    machine = LocalMachine(runtime, hostname="workshop")
    assert machine.hostname == "workshop"
    assert await machine.vms() == ()
    found = await machine.requests(most=10, denied=False, vm=None)
    assert (found.items, found.proxy.running, found.proxy.since) == ((), False, None)


@pytest.mark.live
async def test_requests_are_told_by_vm_and_verdict_the_latest_first(runtime: Runtime) -> None:
    await runtime.load_settings()
    file = runtime.proxy_plan().requests_file
    file.parent.mkdir(parents=True)
    write(file, line("a"), line("b", "denied"), line("c", vm="w", branch="topic"), line("d"))
    machine = LocalMachine(runtime, hostname="workshop")

    async def hosts(*, most: int = 10, denied: bool = False, vm: str | None = None) -> list[str]:
        return [
            each.host for each in (await machine.requests(most=most, denied=denied, vm=vm)).items
        ]

    assert await hosts(most=2) == ["d", "c"]
    assert await hosts(denied=True) == ["b"]
    assert await hosts(vm="topic") == ["c"]
    assert await hosts(vm="w") == ["c"]


def _nothing(_: Event) -> None: ...


@pytest.mark.live
async def test_vms_are_told_with_what_they_took_since_they_were_made(
    runtime: Runtime, own_home: Path
) -> None:
    place = own_home / "app"
    who = ("-c", "user.name=A. User", "-c", "user.email=user@example.org")
    for argv in (
        ("git", "init", "-q", "-b", "main", str(place)),
        ("git", *who, "-C", str(place), "commit", "-q", "--allow-empty", "-m", "First"),
    ):
        subprocess.run(argv, check=True, timeout=20)
    await runtime.load_settings()
    made = await _spawned(runtime, place)
    book, now = runtime.usage_book, runtime.clock.now()
    model = "claude-opus-4-8"
    book.add([Call(1.0, made, "main", model, Tokens(5, 5, 5, 5))])  # of one before it
    book.add([Call(now + 5, made, "main", model, Tokens(1, 2, 3, 4))])
    book.close()
    (vm,) = await LocalMachine(runtime, hostname="workshop").vms()
    assert (vm.name, vm.branch, vm.state, vm.worktree) == (made, "main", "running", str(place))
    assert vm.usage is not None
    assert (vm.usage.calls, vm.usage.tokens) == (1, 10)
    assert isinstance(vm.usage, VmUsage)


async def _spawned(runtime: Runtime, place: Path) -> str:
    there = runtime.at(place)
    await there.load_settings()
    return (await there.orchestrator.spawn(SpawnRequest(cwd=place), _nothing)).name
