"""What a task's agent printed, kept in a file for people: one JSON object a line, bounded.

A line of the agent's standard output stands as it came (Claude Code prints JSON). What else there
is to tell is a line of its own: ``{"type": "stderr", "text": ...}`` from its standard error,
``{"type": "daemon", "text": ...}`` from the daemon. A file that grew beyond its bound loses its
oldest half, and begins with ``{"type": "cut", "bytes": N}``: N bytes were before its next line.

The book and the server have the output whole; this file is a convenience. After a crash of the
daemon some lines may be in it twice.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

from tachikoma.host import files
from tachikoma.host.paths import private_dir
from tachikoma.makima.tasks.port import Line
from tachikoma.model.errors import HostError

LARGEST = 64 << 20
_LONGEST_LINE = 4 << 20
_CUT = b'{"type": "cut", "bytes": '
_CHUNK = 1 << 20
_LARGEST_COPY = 1 << 30
_log = logging.getLogger(__name__)


def task_log(database: Path, task: UUID) -> Path:
    """Say where the output of ``task`` is kept, beside the daemon's database."""
    return database.parent / "logs" / f"task-{task}.log"


class TaskLogs:
    """The files of all tasks of one daemon. Nothing here fails: a task does not end because its
    output cannot be kept for people; the log of the daemon says so once for each.
    """

    def __init__(self, database: Path) -> None:
        self._database = database
        self._open: dict[UUID, TaskLog] = {}
        self._failing: set[UUID] = set()

    def keep(self, task: UUID, lines: Sequence[Line]) -> None:
        """Append what the agent of ``task`` printed."""
        self._do(task, lambda log: log.add(lines))

    def note(self, task: UUID, text: str) -> None:
        """Append something that the daemon has to say about ``task``."""
        self._do(task, lambda log: log.note(text))

    def ended(self, task: UUID) -> None:
        """Know that the agent of ``task`` will print no more."""
        self._do(task, TaskLog.end)
        self._open.pop(task, None)
        self._failing.discard(task)

    def _do(self, task: UUID, work: Callable[[TaskLog], None]) -> None:
        path = task_log(self._database, task)
        try:
            work(self._open.setdefault(task, TaskLog(path)))
        except HostError as error:
            if task not in self._failing:
                _log.warning("what the agent prints is not kept in %s: %s", path, error.message)
            self._failing.add(task)


class TaskLog:
    """Appends to one task's file, mode 0600. Only one at a time may write to a file."""

    def __init__(self, path: Path, *, largest: int = LARGEST) -> None:
        self._path = path
        self._largest = largest
        self._begun = {False: "", True: ""}

    def add(self, lines: Sequence[Line]) -> None:
        """Append what the agent printed; a piece of a line waits for the rest of it.

        Raises:
            HostError: the file cannot be written.
        """
        if data := b"".join(self._whole(lines)):
            self._append(data)

    def note(self, text: str) -> None:
        """Append something that the daemon has to say.

        Raises:
            HostError: as ``add``.
        """
        self._append(_told("daemon", text))

    def end(self) -> None:
        """Append a line that has begun and will not go on.

        Raises:
            HostError: as ``add``.
        """
        self.add([Line("", stderr=stderr) for stderr, text in self._begun.items() if text])

    def _whole(self, lines: Sequence[Line]) -> Iterator[bytes]:
        for line in lines:
            text = self._begun[line.stderr] + line.text
            goes_on = line.partial and len(text) < _LONGEST_LINE
            self._begun[line.stderr] = text if goes_on else ""
            if not goes_on:
                yield _told("stderr", text) if line.stderr else _bytes(f"{text}\n")

    def _append(self, data: bytes) -> None:
        private_dir(self._path.parent)
        with files.translated(self._path):
            with self._opened() as file:
                size = os.fstat(file.fileno()).st_size
                if size + len(data) > self._largest and size > self._largest // 2:
                    self._cut(file, size)
            with self._opened() as file:
                _write(file, data)

    def _opened(self) -> BinaryIO:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.fdopen(os.open(self._path, flags, 0o600), "rb+", buffering=0)

    def _cut(self, file: BinaryIO, size: int) -> None:
        """Put the newer half in the place of the whole, in one step."""
        before, head = _head(file)
        file.seek(max(head, size - self._largest // 2) - 1)
        _skip_line(file)
        start = file.tell()
        temporary = self._path.with_name(f".{self._path.name}.tmp")
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with os.fdopen(os.open(temporary, flags, 0o600), "wb") as kept:
            kept.write(_CUT + b"%d}\n" % (before + start - head))
            kept.flush()
            _copy_rest(file, kept, start)
        temporary.replace(self._path)


class TaskLogReader:
    """Reads a task's file from its beginning on, while it grows, and is cut."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = 0
        self._begun = b""

    def more(self) -> list[str]:
        """Give the next whole lines, some MiB at most; none if there are none yet.

        What was cut away unread is told by a line as the file itself begins with then.

        Raises:
            HostError: the file is there and cannot be read.
        """
        with files.translated(self._path):
            try:
                file = self._path.open("rb")
            except FileNotFoundError:
                return []
            with file:
                return self._read(file)

    def rest(self) -> list[str]:
        """Give the line that has begun and not ended, for who reads no further."""
        begun, self._begun = self._begun, b""
        return [_text(begun)] if begun else []

    def _read(self, file: BinaryIO) -> list[str]:
        before, head = _head(file)
        lost = before - self._at
        if lost > 0:
            self._at, self._begun = before, b""
        file.seek(head + self._at - before)
        data = file.read(_CHUNK)
        self._at += len(data)
        *lines, self._begun = (self._begun + data).split(b"\n")
        if len(self._begun) > _LONGEST_LINE:
            lines, self._begun = [*lines, self._begun], b""
        told = [_text(_CUT + b"%d}" % lost)] if lost > 0 else []
        found = told + [_text(line) for line in lines]
        return found if found or len(data) < _CHUNK else self._read(file)


def _head(file: BinaryIO) -> tuple[int, int]:
    """Give how many bytes were cut away before, and how long the line is that says so."""
    file.seek(0)
    line = file.read(len(_CUT) + 32).partition(b"\n")[0]
    digits = line.removeprefix(_CUT).removesuffix(b"}")
    if line.startswith(_CUT) and digits.isdigit():
        return int(digits), len(line) + 1
    return 0, 0


def _skip_line(file: BinaryIO) -> None:
    """Go to the beginning of the next line, or to the end."""
    while data := file.read(_CHUNK):
        if (found := data.find(b"\n")) >= 0:
            file.seek(found + 1 - len(data), os.SEEK_CUR)
            return


def _copy_rest(source: BinaryIO, target: BinaryIO, start: int) -> None:
    """Copy from ``start`` to the end: by the kernel where it can, since a loop waits for this."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # not on every file system
            while count := os.copy_file_range(
                source.fileno(), target.fileno(), _LARGEST_COPY, offset_src=start
            ):
                start += count
    source.seek(start)
    shutil.copyfileobj(source, target, _CHUNK)


def _write(file: BinaryIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _told(kind: str, text: str) -> bytes:
    return _bytes(json.dumps({"type": kind, "text": text}) + "\n")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace").rstrip("\r")
