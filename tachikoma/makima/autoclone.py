"""The repositories that a daemon's user wants to have: cloned when it starts, if missing."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Protocol

from tachikoma.host.files import translated
from tachikoma.makima.settings import ReposSettings
from tachikoma.model.errors import TachikomaError

_log = logging.getLogger(__name__)


class Clone(Protocol):
    """Makes a clone of ``url`` at ``target``, whole or not at all: ``branch`` checked out (None:
    the remote's own), with ``shallow`` no history but the last commit.

    Raises TachikomaError when that cannot be done.
    """

    async def __call__(self, url: str, target: Path, *, branch: str | None, shallow: bool) -> None:
        """Do it."""
        ...


async def clone_missing(settings: ReposSettings, clone: Clone) -> None:
    """Clone what is not there yet, one after the other, and log how each went.

    What is there is left alone, whatever it is. One that fails does not stop the others, and is
    tried again at the next start.
    """
    for wanted in settings.auto_clone:
        target = settings.home_dir / wanted.name
        try:
            if _is_there(target):
                _log.debug("%s is there already", target)
                continue
            _log.info("cloning %s into %s", wanted.url, target)
            await clone(wanted.url, target, branch=wanted.branch, shallow=wanted.shallow)
        except TachikomaError as error:
            _log.warning(
                "%s was not cloned: %s",
                wanted.url,
                error.message,
                extra={"hint": error.hint} if error.hint else {},
            )
        else:
            _log.info("%s is there", target)


def _is_there(target: Path) -> bool:
    """Tell whether something stands at ``target``; an empty directory is nothing."""
    with translated(target):
        if target.is_symlink() or not target.is_dir():
            return target.is_symlink() or target.exists()
        return any(target.iterdir())
