"""What commands said: shown shortened, kept whole for a while, never without bound.

Kept in files without a name in the user's cache: they are gone with the process, however it ends.
"""

from __future__ import annotations

import tempfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tachikoma.host import files
from tachikoma.host.paths import private_dir

SHOWN_HEAD = 6_000
SHOWN_TAIL = 10_000
"""Bytes of a long output that are shown: how it began and, more telling, how it ended."""
KEPT_OF_ONE = 16 << 20
KEPT_IN_ALL = 256 << 20
_KEPT_OUTPUTS = 64
SCHEME = "tachikoma://outputs/"


@dataclass(frozen=True, slots=True)
class Kept:
    """An output that can be read as a resource. ``size`` is what is kept of ``said`` bytes."""

    uri: str
    title: str
    size: int
    said: int


@dataclass(frozen=True, slots=True)
class Shown:
    """An output as it stands in an answer."""

    text: str
    size: int
    cut: bool
    resource: str | None


class Capture:
    """Takes one output as it comes and holds little of it in memory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._head = bytearray()
        self._tail = bytearray()
        self._file: IO[bytes] | None = None
        self.size = 0
        self.kept = 0

    def take(self, data: bytes) -> None:
        """Take a piece; what is more than ``KEPT_OF_ONE`` in all is only counted.

        Raises:
            HostError: it cannot be kept: no space, say.
        """
        self.size += len(data)
        if self._file is None and self.size <= SHOWN_HEAD + SHOWN_TAIL:
            self._head += data
            return
        with files.translated(self._directory):
            self._spool(data)
        self._tail = (self._tail + data)[-SHOWN_TAIL:]

    def last_line(self) -> str:
        """Give the last line so far that is not empty, for a display of progress."""
        recent = bytes((self._tail or self._head)[-400:]).decode("utf-8", "replace")
        return next((line for line in reversed(recent.splitlines()) if line.strip()), "").strip()

    def text(self) -> tuple[str, bool]:
        """Give the output as it is shown, and whether something is left out in the middle."""
        if self._file is None:
            return bytes(self._head).decode("utf-8", "replace"), False
        head = bytes(self._head[:SHOWN_HEAD]).decode("utf-8", "ignore")
        tail = bytes(self._tail).decode("utf-8", "replace").lstrip("\ufffd")
        out = self.size - SHOWN_HEAD - len(self._tail)
        return f"{head}\n[... {out} of {self.size} bytes are left out here ...]\n{tail}", True

    def is_text(self) -> bool:
        """Tell whether all that is kept can be shown as it is."""
        try:
            self.whole().decode("utf-8")
        except UnicodeDecodeError:
            return False
        return True

    def whole(self) -> bytes:
        """Give everything that is kept."""
        if self._file is None:
            return bytes(self._head)
        self._file.seek(0)
        return self._file.read()

    def close(self) -> None:
        """Forget it. Idempotent."""
        if self._file is not None:
            self._file.close()

    def _spool(self, data: bytes) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(  # noqa: SIM115 - close() does
                dir=private_dir(self._directory)
            )
            self._tail += self._head
            self._file.write(self._head)
            self.kept = len(self._head)
            self._head += data[: max(0, SHOWN_HEAD - len(self._head))]
        piece = data[: max(0, KEPT_OF_ONE - self.kept)]
        self._file.write(piece)
        self._file.flush()
        self.kept += len(piece)


class Outputs:
    """The outputs of this server's commands that are not shown whole; the oldest go first."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._kept: OrderedDict[str, tuple[Kept, Capture]] = OrderedDict()
        self._next = 1

    def capture(self) -> Capture:
        """Begin to take one output."""
        return Capture(self.directory)

    def show(self, captured: Capture, title: str) -> Shown:
        """Give what an answer shows of an output, which is kept if that is not all of it."""
        text, cut = captured.text()
        if not cut and captured.is_text():
            captured.close()
            return Shown(text, captured.size, cut=False, resource=None)
        uri = f"{SCHEME}{self._next}"
        self._next += 1
        kept = Kept(uri, title, min(captured.size, KEPT_OF_ONE), captured.size)
        self._kept[uri] = (kept, captured)
        self._make_room()
        return Shown(text, captured.size, cut=cut, resource=uri)

    def all(self) -> list[Kept]:
        """List what can be read."""
        return [kept for kept, _ in self._kept.values()]

    def read(self, uri: str) -> bytes | None:
        """Give an output, or None if it is not kept (any more)."""
        found = self._kept.get(uri)
        return None if found is None else found[1].whole()

    def close(self) -> None:
        """Forget all of them."""
        for _, captured in self._kept.values():
            captured.close()
        self._kept.clear()

    def _make_room(self) -> None:
        while len(self._kept) > _KEPT_OUTPUTS or self._total() > KEPT_IN_ALL:
            _, (_, captured) = self._kept.popitem(last=False)
            captured.close()

    def _total(self) -> int:
        return sum(kept.size for kept, _ in self._kept.values())
