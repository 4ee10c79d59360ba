"""Who asked what, when, and what became of it: one JSON line for each request.

No line holds a body, a header, a query or a secret.
"""

from __future__ import annotations

import json
import logging
import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

from tachikoma.host import process
from tachikoma.host.paths import private_dir
from tachikoma.proxy.rotation import rotate

LARGEST = 8 << 20
_LONGEST_PATH = 200
_LONGEST_METHOD = 16
_USER_IN_URL = re.compile(r"//[^/@]*@")
_log = logging.getLogger(__name__)


class Verdict(StrEnum):
    """What became of a request."""

    FORWARDED = "forwarded"
    """The whole answer of the API went back."""
    PROBED = "probed"
    """Somebody asked whether the proxy lives. Not recorded."""
    ANSWERED = "answered"
    """The proxy answered itself."""
    DENIED = "denied"
    """It was refused; nothing went to the API."""
    FAILED = "failed"
    """No credential, or the API could not be reached."""
    BROKEN = "broken"
    """The API's answer broke off midway."""
    ABANDONED = "abandoned"
    """The client went away."""


@dataclass(slots=True)
class Entry:
    """One request; filled in while it is being served.

    ``at`` is seconds since the epoch, ``began`` the same moment on the monotonic clock.

    ``status`` is None when no answer was begun. ``sent`` counts the bytes of the body that
    went to the client.
    """

    at: float
    began: float
    method: str
    path: str
    vm: str | None = None
    status: int | None = None
    sent: int = 0
    first_byte_s: float | None = None
    duration_s: float = 0.0
    verdict: Verdict = Verdict.ABANDONED
    why: str = ""


def line(entry: Entry) -> bytes:
    """Give the line for ``entry``, fit for a log whatever the client sent."""
    fields = asdict(entry)
    del fields["began"]
    at = datetime.fromtimestamp(fields.pop("at"), UTC)
    path = _USER_IN_URL.sub("//", entry.path.partition("?")[0])
    first = entry.first_byte_s
    told = {"time": at.isoformat(timespec="milliseconds")} | fields
    told |= {
        "method": entry.method[:_LONGEST_METHOD],
        "path": process.redacted(path)[:_LONGEST_PATH],
        "first_byte_s": None if first is None else round(first, 6),
        "duration_s": round(entry.duration_s, 6),
    }
    return json.dumps(told).encode("ascii") + b"\n"


class RequestLedger:
    """Appends entries to a file, in order, each with one write, without holding up a request.

    The file is renamed to ``.1`` (and on to ``.3``) when it grows beyond 8 MiB. A full disk
    loses lines, never requests.

    If starting fails, nothing is open. On stop every entry that was added is in the file.
    """

    def __init__(self, *, file: Path, largest: int = LARGEST) -> None:
        self._file = file
        self._largest = largest
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")
        self._descriptor = -1

    def __enter__(self) -> Self:
        """Make the directory; the file is opened by the first line.

        Raises:
            PermissionDeniedError: the directory cannot be used.
        """
        private_dir(self._file.parent)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write what is left and close."""
        self._writer.shutdown(wait=True)
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def add(self, entry: Entry) -> None:
        """Have ``entry`` written. Never waits, never fails."""
        self._writer.submit(self._append, line(entry))

    def _append(self, text: bytes) -> None:
        try:
            if self._descriptor < 0 or self._used_up(len(text)):
                self._reopen()
            os.write(self._descriptor, text)
        except OSError as error:
            _log.warning("a request was not recorded: %s", error.strerror)

    def _used_up(self, more: int) -> bool:
        """Tell whether the open file has no room, after moving it away, or was removed."""
        seen = os.fstat(self._descriptor)
        if seen.st_size + more > self._largest:
            rotate(self._file, largest=0)
            return True
        return seen.st_nlink == 0

    def _reopen(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._descriptor = os.open(self._file, flags, 0o600)
