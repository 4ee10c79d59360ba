from __future__ import annotations

import logging

import pytest

from tachikoma.host.clock import FakeClock
from tachikoma.makima.room import when_there_is_room
from tachikoma.model.errors import DiskFullError, HostError


class Disk:
    """One that is full so many times."""

    def __init__(self, full: int) -> None:
        self.full = full

    async def write(self) -> str:
        if self.full:
            self.full -= 1
            raise DiskFullError("no space is left", hint="free some")
        return "written"


async def test_writing_waits_for_room_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = FakeClock(0.0)
    assert await when_there_is_room(Disk(3).write, who="the task", clock=clock) == "written"
    assert clock.now() == 15.0
    assert caplog.messages == [
        "the task waits: no space is left (free some)",
        "the task goes on: there is room on the disk again",
    ]


async def test_with_room_nothing_is_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert await when_there_is_room(Disk(0).write, who="the task", clock=FakeClock()) == "written"
    assert caplog.messages == []


async def test_other_trouble_is_not_waited_for() -> None:
    async def broken() -> None:
        raise HostError("it is broken")

    with pytest.raises(HostError, match="it is broken"):
        await when_there_is_room(broken, who="the task", clock=FakeClock())
