"""Background tasks with a name and an owner."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

_log = logging.getLogger(__name__)
_running: set[asyncio.Task[Any]] = set()


def spawn(work: Coroutine[Any, Any, Any], *, name: str) -> asyncio.Task[Any]:
    """Start ``work`` as a task, keep it referenced and log its crash; the caller cancels it."""
    task = asyncio.get_running_loop().create_task(work, name=name)
    _running.add(task)
    task.add_done_callback(_finished)
    return task


async def end(task: asyncio.Task[Any]) -> None:
    """Cancel ``task`` and wait until it is gone."""
    task.cancel()
    await asyncio.wait({task})


async def to_the_end(work: Coroutine[Any, Any, None], *, name: str) -> None:
    """Do ``work`` to its end, however often the caller is cancelled meanwhile; that counts then.

    For short clearing away, which has its own deadlines.
    """
    task = spawn(work, name=name)
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError
    task.result()


def _finished(task: asyncio.Task[Any]) -> None:
    _running.discard(task)
    if not task.cancelled() and (failure := task.exception()) is not None:
        _log.error("background task %s failed", task.get_name(), exc_info=failure)
