"""Reading the request log: what was recorded last, and what is recorded from now on."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tachikoma.host.clock import Clock
from tachikoma.proxy.rotation import KEPT

Request = Mapping[str, object]
"""One line of the log, as ``ledger.line`` wrote it."""

_LOOKED_EACH_S = 0.3


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which requests: of a VM (or its branch; None: of all), only those refused or all."""

    vm: str | None = None
    denied: bool = False

    def fits(self, request: Request) -> bool:
        """Tell whether ``request`` is one of them."""
        if self.denied and request.get("verdict") != "denied":
            return False
        return self.vm is None or self.vm in (request.get("vm"), request.get("branch"))


@dataclass(frozen=True, slots=True)
class Position:
    """How far a file was read; ``inode`` tells it from the next one of that name."""

    inode: int = 0
    offset: int = 0


def recent(file: Path, wanted: Wanted, *, most: int) -> tuple[tuple[Request, ...], Position]:
    """Give the last ``most`` requests that are wanted, and where the log ended then."""
    found: deque[Request] = deque(maxlen=most)
    older = [file.with_name(f"{file.name}.{number}") for number in range(KEPT, 0, -1)]
    for each in older:
        found.extend(filter(wanted.fits, _requests(_from(each, Position())[0])))
    lines, position = _from(file, Position())
    found.extend(filter(wanted.fits, _requests(lines)))
    return tuple(found), position


async def onwards(
    file: Path, wanted: Wanted, *, position: Position, clock: Clock
) -> AsyncGenerator[Request, None]:
    """Yield the requests that are wanted as they are recorded after ``position``, for ever.

    Goes on in the new file when the log is rotated, after the rest of the old one.
    """
    while True:
        found, position = further(file, wanted, position)
        for request in found:
            yield request
        await clock.sleep(_LOOKED_EACH_S)


def further(file: Path, wanted: Wanted, position: Position) -> tuple[tuple[Request, ...], Position]:
    """Give the requests that are wanted and were recorded after ``position``, and where the log
    ends now. If the log was rotated meanwhile, the rest of the old file comes first.
    """
    if position.inode and _inode(file) not in (0, position.inode):
        rest, _ = _from(file.with_name(f"{file.name}.1"), position)
        lines, position = _from(file, Position())
        lines = [*rest, *lines]
    else:
        lines, position = _from(file, position)
    return tuple(filter(wanted.fits, _requests(lines))), position


def _from(file: Path, position: Position) -> tuple[list[bytes], Position]:
    """Give the whole lines behind ``position``, and where the last of them ends."""
    try:
        with file.open("rb") as stream:
            inode = _inode(file)
            stream.seek(position.offset)
            data = stream.read()
    except OSError:
        return [], position
    whole = data.rfind(b"\n") + 1
    return data[:whole].splitlines(), Position(inode, position.offset + whole)


def _requests(lines: Iterable[bytes]) -> Iterator[Request]:
    for line in lines:
        try:
            told = json.loads(line)
        except ValueError:
            continue  # cut short by a crash of the machine
        if isinstance(told, dict) and "time" in told:
            yield told


def _inode(file: Path) -> int:
    try:
        return file.stat().st_ino
    except OSError:
        return 0
