"""The directory of one task, on which its holder and its visitors meet: all they share is in it.

agent    JSON: who the agent and its holder are; is there once the agent was started
stdout   what it printed, whole; what was taken down long ago is a hole
stderr
input    what it is told: for each entry a line of JSON (key, size), then as many bytes
wake     a FIFO: a byte in it makes the holder look
taken    four numbers: how much of the outputs was taken down, and how much is freed
paused   is there while the agent is to stand still, as somebody asked
full     is there while it stands still because nobody reads
exit     how it ended: a number, or nothing if nobody saw it
log      what the holder died of, should it ever
lock     who changes any of this, or sends signals, holds it
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import struct
from collections.abc import Iterator
from typing import Any

from tachikoma.makima.tasks.holder.strays import Family, started

OUTPUTS = ("stdout", "stderr")
TAKEN = struct.Struct("<4Q")
CHUNK = 1 << 16

Request = dict[str, Any]


class Refused(Exception):
    """What was asked cannot be done; ``kind`` says why to a program."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class Place:
    """The directory of one task, and what its files say."""

    def __init__(self, root: str, task: str) -> None:
        self.path = os.path.join(os.path.expanduser(root), task)
        self.task = task
        # Two daemons of one user may have tasks of the same id, each at a place of its own.
        self.mark = hashlib.sha256(os.fsencode(self.path)).hexdigest()

    def at(self, name: str) -> str:
        """Give the path of one file."""
        return os.path.join(self.path, name)

    def has(self, name: str) -> bool:
        """Tell whether a file is there."""
        return os.path.exists(self.at(name))

    def text(self, name: str) -> str | None:
        """Give what a file holds, None if it is not there."""
        try:
            with open(self.at(name), encoding="utf-8") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def put(self, name: str, text: str) -> None:
        """Write a file so that it is there whole or not at all."""
        new = f"{self.at(name)}.{os.getpid()}"
        with open(new, "w", encoding="utf-8", opener=private) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, self.at(name))

    def end(self, status: int) -> None:
        """Write down how the agent ended, where room was kept for it: the disk may be full."""
        with open(self.at("room"), "r+", encoding="ascii") as file:
            file.write(str(status))
            file.flush()
            os.fsync(file.fileno())
        os.replace(self.at("room"), self.at("exit"))

    def drop(self, name: str) -> None:
        """Remove a file that may be gone."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.at(name))

    @contextlib.contextmanager
    def locked(self) -> Iterator[int]:
        """Be the only one who changes something; gives the lock's descriptor."""
        lock = os.open(self.at("lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield lock
        finally:
            os.close(lock)

    def size(self, name: str) -> int:
        """Give the size of a file, 0 if it is not there."""
        try:
            return os.stat(self.at(name)).st_size
        except FileNotFoundError:
            return 0

    def taken(self) -> tuple[int, ...]:
        """Give how much of each output was taken down, and how much of each is freed."""
        try:
            with open(self.at("taken"), "rb") as file:
                return TAKEN.unpack(file.read())
        except (FileNotFoundError, struct.error):
            return (0, 0, 0, 0)

    def who(self, role: str) -> int | None:
        """Give the id of the agent's or its holder's process, None if that is gone."""
        record = json.loads(self.text("agent") or "{}")
        if role not in record:
            return None
        pid, birth = record[role]
        return pid if started(pid) == birth else None

    def family(self) -> Family:
        """Give the processes of the agent."""
        return Family(holder=self.who("holder"), agent=self.who("agent"), mark=self.mark)

    def wake(self) -> None:
        """Make the holder look, if there is one."""
        with contextlib.suppress(OSError):
            fifo = os.open(self.at("wake"), os.O_WRONLY | os.O_NONBLOCK)
            try:
                os.write(fifo, b"!")
            finally:
                os.close(fifo)


class Entries:
    """What an agent is told, read from the file on: only whole entries."""

    def __init__(self, file: int) -> None:
        self.file = file
        self.end = 0
        """Behind the last whole entry."""

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        while True:
            head = os.pread(self.file, CHUNK, self.end)
            line, newline, _ = head.partition(b"\n")
            if not newline:
                return
            about = json.loads(line)
            begin = self.end + len(line) + 1
            data = pread(self.file, about["size"], begin)
            if len(data) < about["size"]:
                return
            self.end = begin + len(data)
            yield about["key"], data


def private(path: str, flags: int) -> int:
    """Open a file that is nobody else's."""
    return os.open(path, flags, 0o600)


def pread(file: int, size: int, begin: int) -> bytes:
    """Read a part of a file, as much of it as there is."""
    parts = []
    while size > 0:
        part = os.pread(file, size, begin)
        if not part:
            break
        parts.append(part)
        begin += len(part)
        size -= len(part)
    return b"".join(parts)


def drain(file: int) -> None:
    """Read away what wakes us."""
    with contextlib.suppress(BlockingIOError):
        while os.read(file, CHUNK):
            pass


def libc() -> Any:  # noqa: ANN401 - it is whatever the machine's library has
    """Give the C library."""
    import ctypes  # takes long to load on an emulated machine

    return ctypes.CDLL(None, use_errno=True)
