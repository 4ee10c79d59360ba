from __future__ import annotations

from typing import Any, cast

from mcp.server.session import ServerSession
from mcp.server.subscriptions import ResourceUpdated

from tachikoma.host.clock import FakeClock
from tachikoma.mcp.resources import Library
from tachikoma.mcp.watch import Watch
from tachikoma.model.errors import ConfigError
from tests.unit.mcp.stand import until


class Marks:
    """A library whose resources look as a test says."""

    def __init__(self) -> None:
        self.marks = {"a": "1", "b": "1"}
        self.looks = 0
        self.fails = False

    async def mark(self, uri: str) -> str:
        self.looks += 1
        if self.fails:
            raise ConfigError("broken")
        return self.marks[uri]

    async def names(self) -> list[str]:
        return sorted(self.marks)


class Hears:
    """A session that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    async def send_resource_updated(self, uri: str) -> None:
        self.told.append(uri)

    async def send_resource_list_changed(self) -> None:
        self.told.append("list")


def stand() -> tuple[Watch, Marks, Hears, Any]:
    marks, hears = Marks(), Hears()
    watch = Watch(cast("Library", marks), FakeClock())
    return watch, marks, hears, cast("ServerSession", hears)


async def test_a_subscriber_hears_of_each_change_once() -> None:
    watch, marks, hears, session = stand()
    async with watch.looking():
        await watch.subscribe("a", session)
        await watch.subscribe("a", session)
        marks.marks |= {"a": "2", "b": "2"}
        await until(lambda: hears.told == ["a"])
        looks = marks.looks
        await until(lambda: marks.looks > looks + 3)
        assert hears.told == ["a"]
        marks.marks["a"] = "3"
        await until(lambda: hears.told == ["a", "a"])


async def test_nobody_looks_while_nobody_has_subscribed() -> None:
    watch, marks, hears, session = stand()
    async with watch.looking():
        await watch.subscribe("a", session)
        watch.unsubscribe("a")
        watch.unsubscribe("a")
        marks.marks["a"] = "2"
        looks = marks.looks
        async with watch.listening(["b"]):
            await until(lambda: marks.looks > looks + 2)
        assert hears.told == []


async def test_a_listener_at_the_bus_hears_of_a_change() -> None:
    watch, marks, _, _ = stand()
    heard: list[object] = []
    watch.bus.subscribe(heard.append)
    async with watch.looking(), watch.listening(["b"]):
        marks.marks["b"] = "2"
        await until(lambda: heard == [ResourceUpdated("b")])


async def test_what_a_tool_did_is_told_at_once() -> None:
    watch, marks, hears, session = stand()
    await watch.subscribe("a", session)
    marks.marks |= {"a": "2", "c": "1"}
    await watch.changed(session)
    assert hears.told == ["list", "a"]
    await watch.changed(session)
    assert hears.told == ["list", "a"]


async def test_settings_that_are_broken_for_a_while_do_not_end_the_looking() -> None:
    watch, marks, hears, session = stand()
    async with watch.looking():
        await watch.subscribe("a", session)
        marks.fails = True
        looks = marks.looks
        await until(lambda: marks.looks > looks + 2)
        await watch.changed(session)
        marks.fails = False
        marks.marks["a"] = "2"
        await until(lambda: "a" in hears.told)
