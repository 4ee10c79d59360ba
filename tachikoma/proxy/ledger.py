"""Who asked what, when, and what became of it: one JSON line for each request and tunnel.

No line holds a body, a header, a query or a secret.
"""

from __future__ import annotations

import json
import logging
import os
import re
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

from tachikoma.host import process
from tachikoma.host.paths import private_dir
from tachikoma.model.errors import ProxyError
from tachikoma.proxy.meter import Tokens
from tachikoma.proxy.rotation import rotate
from tachikoma.proxy.usage import Call, UsageBook

LARGEST = 8 << 20
_GATHERED_S = 0.01
"""How long lines are gathered: under load one write takes many; a crash loses hardly any."""
_LONGEST_PATH = 200
_LONGEST_METHOD = 16
_USER_IN_URL = re.compile(r"//[^/@]*@")
_log = logging.getLogger(__name__)


class Verdict(StrEnum):
    """What became of a request."""

    FORWARDED = "forwarded"
    """The whole answer went back; a tunnel was closed in good order."""
    PROBED = "probed"
    """Somebody asked whether the proxy lives. Not recorded."""
    ANSWERED = "answered"
    """The proxy answered itself."""
    DENIED = "denied"
    """It was refused; nothing went to anybody."""
    FAILED = "failed"
    """No credential, or the other side could not be reached."""
    BROKEN = "broken"
    """The answer broke off midway."""
    ABANDONED = "abandoned"
    """The client went away."""


@dataclass(slots=True)
class Entry:
    """One request; filled in while it is being served.

    ``at`` is seconds since the epoch, ``began`` the same moment on the monotonic clock.

    ``host`` is "" for what the proxy itself is asked, the API included. ``status`` is None when no
    answer was begun. ``received`` counts the bytes of the body that came from the client, ``sent``
    those that went to it. ``tokens`` is None where the answer did not tell.
    """

    at: float
    began: float
    method: str = ""
    path: str = ""
    host: str = ""
    vm: str | None = None
    branch: str | None = None
    status: int | None = None
    received: int = 0
    sent: int = 0
    first_byte_s: float | None = None
    duration_s: float = 0.0
    verdict: Verdict = Verdict.ABANDONED
    why: str = ""
    model: str = ""
    tokens: Tokens | None = None


def line(entry: Entry) -> bytes:
    """Give the line for ``entry``, fit for a log whatever the client sent."""
    at = datetime.fromtimestamp(entry.at, UTC)
    path = _USER_IN_URL.sub("//", entry.path.partition("?")[0])
    first, tokens = entry.first_byte_s, entry.tokens
    told: dict[str, object] = {
        "time": at.isoformat(timespec="milliseconds"),
        "vm": entry.vm,
        "branch": entry.branch,
        "method": entry.method[:_LONGEST_METHOD],
        "host": entry.host[:_LONGEST_PATH],
        "path": process.redacted(path)[:_LONGEST_PATH],
        "status": entry.status,
        "received": entry.received,
        "sent": entry.sent,
        "first_byte_s": None if first is None else round(first, 6),
        "duration_s": round(entry.duration_s, 6),
        "verdict": entry.verdict,
        "why": entry.why,
    }
    if entry.model or tokens is not None:
        told["model"] = entry.model
        told["tokens"] = None if tokens is None else asdict(tokens)
    return json.dumps(told).encode("ascii") + b"\n"


class RequestLedger:
    """Appends entries to a file, in order and in whole lines, without holding up a request.

    The file is renamed to ``.1`` (and on to ``.3``) when it grows beyond 8 MiB. A full disk
    loses lines, never requests; a line that a crash or a full disk cut short is closed before the
    next one. Calls with token counts go to ``usage`` as well.

    If starting fails, nothing is open. On stop every entry that was added is in the file.
    """

    def __init__(
        self, *, file: Path, usage: UsageBook | None = None, largest: int = LARGEST
    ) -> None:
        self._file = file
        self._usage = usage
        self._largest = largest
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")
        self._descriptor = -1
        self._waiting: deque[Entry] = deque()
        self._drains = False
        self._pause = threading.Event()

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
        if self._usage is not None:
            self._usage.close()
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def add(self, entry: Entry) -> None:
        """Have ``entry`` written, as it is now. Never waits, never fails."""
        self._waiting.append(entry)
        if not self._drains:
            self._drains = True
            self._writer.submit(self._drain)

    def _drain(self) -> None:
        """Write what is waiting, in as few writes as there is room in the file for."""
        self._pause.wait(_GATHERED_S)  # in the writer's own thread
        self._drains = False  # before looking: what comes later brings a drain of its own
        entries = []
        while self._waiting:
            entries.append(self._waiting.popleft())
        lines = b""
        for each in map(line, entries):
            if lines and self._full(len(lines) + len(each)):
                self._append(lines)
                lines = b""
            lines += each
        if lines:
            self._append(lines)
        self._account([each for each in entries if each.tokens is not None])

    def _account(self, entries: list[Entry]) -> None:
        if self._usage is None or not entries:
            return
        calls = [
            Call(each.at, each.vm or "", each.branch or "", each.model, each.tokens or Tokens())
            for each in entries
        ]
        try:
            self._usage.add(calls)
        except ProxyError as error:
            _log.warning("%d model calls were not counted: %s", len(calls), error.message)

    def _full(self, more: int) -> bool:
        size = os.fstat(self._descriptor).st_size if self._descriptor >= 0 else 0
        return size + more > self._largest

    def _append(self, lines: bytes) -> None:
        try:
            if self._descriptor < 0 or self._used_up(len(lines)):
                self._reopen()
            if os.write(self._descriptor, lines) < len(lines):
                self._reopen()  # which ends what was cut short
                _log.warning("a request was not recorded: no space is left")
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
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._descriptor = os.open(self._file, flags, 0o600)
        size = os.fstat(self._descriptor).st_size
        if size and os.pread(self._descriptor, 1, size - 1) != b"\n":
            os.write(self._descriptor, b"\n")
