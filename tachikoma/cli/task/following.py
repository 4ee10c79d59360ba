"""Showing what the agents of a task print, as it comes."""

from __future__ import annotations

from collections.abc import Iterator

from tachikoma.cli import words
from tachikoma.cli.door import Door
from tachikoma.cli.makima.transcript import Transcript
from tachikoma.makima.client.calls import Json, ServerCalls

_ROOM_IN_A_PIPE = 200
_PAGE = 500


class Following:
    """Shows a task's output on the screen of ``door``; ``raw`` as it was printed."""

    def __init__(self, door: Door, *, raw: bool = False) -> None:
        terminal = door.terminal
        self._door = door
        self._raw = raw
        self._transcript = Transcript(
            room=terminal.columns() if terminal.out_tty else _ROOM_IN_A_PIPE
        )
        self._joined = Joined()

    async def to_the_end(self, server: ServerCalls, task: str, *, after: int = 0) -> Json:
        """Show what comes until the task has ended, and give it."""
        async for event in server.stream(f"/tasks/{task}/output/stream", after=after):
            match event.kind:
                case "output":
                    self.show(event.data)
                case "gap":
                    self._door.screen.note(dropped(event.data["droppedBytes"]))
                case _:
                    continue
        self._put(self._joined.rest())
        return await server.get(f"/tasks/{task}")

    def show(self, chunk: Json) -> None:
        """Show a piece of the output."""
        self._put(self._joined.add(chunk))

    def finish(self) -> None:
        """Show a line that has no end yet."""
        self._put(self._joined.rest())

    def _put(self, lines: Iterator[str]) -> None:
        screen = self._door.screen
        for line in lines:
            if self._raw:
                # Into a pipe as it is: making it visible would break the JSON.
                screen.give({}, [words.clean(line) if self._door.terminal.out_tty else line])
            elif pieces := self._transcript(line):
                screen.give({}, [screen.style(each.text, *each.looks) for each in pieces])


class Joined:
    """Puts lines together that came in pieces (pure)."""

    def __init__(self) -> None:
        self._begun: list[str] = []

    def add(self, chunk: Json) -> Iterator[str]:
        """Take a piece; give the line that ends with it."""
        self._begun.append(str(chunk["text"]))
        if not chunk["partial"]:
            yield from self.rest()

    def rest(self) -> Iterator[str]:
        """Give a line that has begun."""
        if self._begun:
            line, self._begun = "".join(self._begun), []
            yield line.removesuffix("\n")


async def printed(server: ServerCalls, task: str, *, last: int | None) -> tuple[list[Json], int]:
    """Give the pieces that a task has printed, all or the last, and the bytes that are not kept."""
    if last == 0:
        return [], 0
    if last is not None and last <= _PAGE:
        page = await server.get(f"/tasks/{task}/output", {"last": last})
        return page["items"], 0
    found: list[Json] = []
    after, more, gone = 0, True, 0
    while more:
        page = await server.get(f"/tasks/{task}/output", {"after": after, "limit": _PAGE})
        found += page["items"]
        after, more, gone = page["next"], page["more"], page["droppedBytes"]
    return (found, gone) if last is None else (found[-last:], 0)


def dropped(count: int) -> str:
    """Say that old output is gone."""
    return f"{words.size(count)} of older output are not kept any more"
