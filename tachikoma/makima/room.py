"""Writing on a disk that may be full."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tachikoma.host.clock import Clock
from tachikoma.makima.tasks.ending import worded
from tachikoma.model.errors import DiskFullError

T = TypeVar("T")

_log = logging.getLogger(__name__)
_LOOK_AGAIN_S = 5.0


async def when_there_is_room(write: Callable[[], Awaitable[T]], *, who: str, clock: Clock) -> T:
    """Do ``write`` as soon as there is room on the disk, and say if ``who`` waits for that."""
    waits = False
    while True:
        try:
            done = await write()
        except DiskFullError as error:
            if not waits:
                _log.warning("%s waits: %s", who, worded(error))
            waits = True
            await clock.sleep(_LOOK_AGAIN_S)
        else:
            if waits:
                _log.info("%s goes on: there is room on the disk again", who)
            return done
