"""The repositories that a daemon's user wants to have: cloned when it starts, if missing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from pathlib import Path
from typing import Protocol

from tachikoma.host.files import translated
from tachikoma.makima.settings import AutoClone, ReposSettings
from tachikoma.model.errors import TachikomaError

_log = logging.getLogger(__name__)


class Clone(Protocol):
    """Clones ``url`` into ``target``, which does not exist: ``branch`` checked out (None: the
    remote's own), with ``shallow`` no history but the last commit.

    Raises TachikomaError when that cannot be done.
    """

    async def __call__(self, url: str, target: Path, branch: str | None, *, shallow: bool) -> None:
        """Do it."""
        ...


async def clone_missing(settings: ReposSettings, clone: Clone) -> None:
    """Clone what is not there yet, one after the other, and log how each went.

    What is there is left alone, whatever it is. A clone appears whole or not at all: one that was
    broken off is begun anew the next time. One that fails does not stop the others.
    """
    for wanted in settings.auto_clone:
        target = settings.home_dir / wanted.name
        if _is_there(target):
            _log.debug("%s is there already", target)
            continue
        try:
            await _cloned(wanted, target, clone)
        except TachikomaError as error:
            _log.warning(
                "%s was not cloned: %s",
                wanted.url,
                error.message,
                extra={"hint": error.hint} if error.hint else {},
            )


async def _cloned(wanted: AutoClone, target: Path, clone: Clone) -> None:
    with translated(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
    # No name in the list begins with a dot, so this is nobody's own directory.
    begun = target.with_name(f".{target.name}.cloning")
    await _removed(begun)
    _log.info("cloning %s into %s", wanted.url, target)
    try:
        await clone(wanted.url, begun, wanted.branch, shallow=wanted.shallow)
        with contextlib.suppress(OSError):
            target.rmdir()
        with translated(target):
            begun.rename(target)
    except BaseException:
        await asyncio.shield(_removed(begun))
        raise
    _log.info("%s is there", target)


def _is_there(target: Path) -> bool:
    """Tell whether something stands at ``target``; an empty directory is nothing."""
    if target.is_symlink() or not target.is_dir():
        return target.is_symlink() or target.exists()
    return any(target.iterdir())


async def _removed(directory: Path) -> None:
    await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)
