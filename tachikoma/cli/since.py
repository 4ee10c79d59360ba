"""A point in the past as people write it (pure)."""

from __future__ import annotations

import re
from datetime import datetime

from tachikoma.model.errors import UsageError

_SPAN = re.compile(r"([0-9]{1,6}) ?(min|m|h|d|w)")
_SECONDS = {"min": 60, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}


def moment(text: str, now: float) -> float:
    """Give the seconds since the epoch of ``30m``, ``12h``, ``7d``, ``2w``, a day or a time.

    A day or time without a zone is meant where the user is.

    Raises:
        UsageError: it is none of these.
    """
    if span := _SPAN.fullmatch(text.strip()):
        return now - int(span[1]) * _SECONDS[span[2]]
    try:
        return datetime.fromisoformat(text.strip()).astimezone().timestamp()
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError(
            f"{text!r} is no time", hint="such as 30m, 12h, 7d, 2w, 2026-11-01 or 2026-11-01T09:00"
        ) from error
