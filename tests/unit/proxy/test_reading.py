from __future__ import annotations

import json
from pathlib import Path

import pytest

from tachikoma.host.clock import FakeClock
from tachikoma.proxy.reading import Position, Wanted, onwards, recent
from tachikoma.proxy.rotation import rotate


def line(number: int, **more: object) -> bytes:
    told = {"time": "2026-11-01T00:00:00+00:00", "n": number, "vm": "vm", "verdict": "forwarded"}
    return json.dumps({**told, **more}).encode() + b"\n"


def numbers(found: tuple[object, ...]) -> list[object]:
    return [each["n"] for each in found if isinstance(each, dict)]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    file = tmp_path / "requests.jsonl"
    for number in range(4):
        with file.open("ab") as stream:
            stream.write(line(number))
        if number < 2:
            rotate(file, largest=0)
    return file


def test_the_last_requests_are_found_over_rotated_files_in_order(log: Path) -> None:
    assert numbers(recent(log, Wanted(), most=50)[0]) == [0, 1, 2, 3]
    assert numbers(recent(log, Wanted(), most=3)[0]) == [1, 2, 3]
    assert recent(log.with_name("none"), Wanted(), most=3) == ((), Position())


def test_only_those_of_a_vm_or_branch_or_those_refused(log: Path) -> None:
    with log.open("ab") as stream:
        stream.write(line(4, vm="other", branch="topic", verdict="denied"))
        stream.write(line(5, vm=None, verdict="denied"))
    assert numbers(recent(log, Wanted(vm="other"), most=9)[0]) == [4]
    assert numbers(recent(log, Wanted(vm="topic"), most=9)[0]) == [4]
    assert numbers(recent(log, Wanted(denied=True), most=9)[0]) == [4, 5]
    assert numbers(recent(log, Wanted(vm="vm", denied=True), most=9)[0]) == []


def test_what_is_no_line_of_ours_is_passed_over(log: Path) -> None:
    with log.open("ab") as stream:
        stream.write(b"torn {\n[1]\n" + line(4)[:10])
    assert numbers(recent(log, Wanted(), most=2)[0]) == [2, 3]


async def test_it_goes_on_with_what_is_recorded_from_then_on(log: Path) -> None:
    _, position = recent(log, Wanted(), most=0)
    going = onwards(log, Wanted(), position=position, clock=FakeClock())
    with log.open("ab") as stream:
        stream.write(line(4) + line(5)[:10])
    assert (await anext(going))["n"] == 4
    with log.open("ab") as stream:
        stream.write(line(5)[10:] + line(6))
    assert [(await anext(going))["n"] for _ in range(2)] == [5, 6]
    await going.aclose()


async def test_it_goes_on_in_the_next_file_after_the_rest_of_the_last(log: Path) -> None:
    _, position = recent(log, Wanted(), most=0)
    going = onwards(log, Wanted(), position=position, clock=FakeClock())
    with log.open("ab") as stream:
        stream.write(line(4))
    rotate(log, largest=0)
    log.write_bytes(line(5))
    assert [(await anext(going))["n"] for _ in range(2)] == [4, 5]
    await going.aclose()
