"""A conversation about one agent, on standard input and output.

It ends with its connection; the agent does not notice.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import sys
import time
from collections.abc import Iterator

from tachikoma.makima.tasks.holder.ground import (
    CHUNK,
    OUTPUTS,
    TAKEN,
    Entries,
    Place,
    Refused,
    Request,
    drain,
    libc,
    pread,
    private,
)
from tachikoma.makima.tasks.holder.holding import STRAY_GRACE_S, begin
from tachikoma.makima.tasks.holder.strays import send

GREETING = b"\n@makima-holder 1\n"
KEPT = 8 << 20
"""Bytes of output that stay on the disk behind what was taken down."""
BLOCK = 4096
POLL_S = 0.05
"""How often new output is looked for where nothing tells of it."""
IN_MODIFY, IN_MOVED_TO, IN_CREATE = 0x2, 0x80, 0x100
IN_NONBLOCK = 0o4000
KEEP_SIZE_AND_PUNCH = 1 | 2


class Serving:
    """A conversation about one agent: requests by lines on standard input, each answered by its
    number. One that waits for output holds no other up.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self.heard = bytearray()
        self.needed = 0
        self.waiting: dict[int, Request] = {}
        self.watch: int | None = None
        self.frees = True

    def run(self) -> None:
        """Answer until the other side is gone."""
        write(GREETING)
        while True:
            if self.waiting:
                self.look()
            doors = select.poll()
            doors.register(0, select.POLLIN)
            pause_s = None
            if self.waiting:
                pause_s = min(each["until"] for each in self.waiting.values()) - time.monotonic()
                if self.watch is None:
                    pause_s = min(pause_s, POLL_S)
                else:
                    doors.register(self.watch, select.POLLIN)
            ready = doors.poll(None if pause_s is None else max(0.0, pause_s * 1000))
            if self.watch is not None:
                drain(self.watch)
            if any(each == 0 for each, _ in ready):
                data = os.read(0, CHUNK)
                if not data:
                    return
                self.hear(data)

    def hear(self, data: bytes) -> None:
        """Take in what was said, and do what is asked as soon as it is whole."""
        self.heard += data
        while len(self.heard) >= self.needed and b"\n" in self.heard:
            line, _, rest = bytes(self.heard).partition(b"\n")
            request = json.loads(line)
            size = request.get("size", 0)
            self.needed = len(line) + 1 + size
            if len(rest) < size:
                return
            request["data"] = rest[:size]
            del self.heard[: self.needed]
            self.needed = 0
            self.answer(request)

    def answer(self, request: Request) -> None:
        """Do what is asked, and say so."""
        try:
            said = getattr(self, "do_" + request["do"])(request)
        except Refused as error:
            said = {"error": error.kind, "text": str(error)}
        except OSError as error:
            said = {"error": "failed", "text": f"{error.filename or ''} {error.strerror}".strip()}
        if said is not None:
            write(json.dumps({"id": request["id"], **said}).encode() + b"\n")

    def do_state(self, request: Request) -> Request:
        """Say how the agent is."""
        del request
        if not self.place.has("agent"):
            return {"started": False, "alive": False, "status": None}
        ending = self.ending()
        status = None if ending is None else ending.get("status")
        return {"started": True, "alive": ending is None, "status": status}

    def do_start(self, request: Request) -> Request:
        """Start the agent, unless it was."""
        os.makedirs(self.place.path, mode=0o700, exist_ok=True)
        with self.place.locked() as lock:
            if not self.place.has("agent"):
                for name in ("input", "wake"):
                    self.place.drop(name)
                for name, data in (("input", b""), ("taken", TAKEN.pack(0, 0, 0, 0))):
                    with open(self.place.at(name), "wb", opener=private) as file:
                        file.write(data)
                if request["data"]:
                    self.append("first", request["data"])
                os.mkfifo(self.place.at("wake"), 0o600)
                begin(self.place, request, lock)
        return {}

    def do_send(self, request: Request) -> Request:
        """Take down what the agent is to be told, once for each key."""
        with self.held():
            keys = self.keys()
            if request["key"] not in keys:
                if "" in keys or self.ending() is not None:
                    raise Refused("closed", "its input is closed")
                self.append(request["key"], request["data"])
        self.place.wake()
        return {}

    def do_close(self, request: Request) -> Request:
        """End the agent's input behind all that it was told."""
        del request
        with self.held():
            if "" not in self.keys():
                self.append("", b"")
        self.place.wake()
        return {}

    def do_signal(self, request: Request) -> Request:
        """Do something to the agent and to all that it started."""
        what = request["what"]
        if not self.place.has("agent"):
            return {}
        with self.held():
            if self.ending() is not None:
                return {}
            family = self.place.family()
            if what == "pause":
                self.place.put("paused", "")
                family.stop()
                return {}
            self.place.drop("paused")
            if what == "kill":
                family.kill()
            elif what == "terminate":
                family.terminate()
            else:
                if what == "interrupt" and family.agent is not None:
                    send(family.agent, signal.SIGINT)
                if not self.place.has("full"):
                    family.go_on()
        return {}

    def do_discard(self, request: Request) -> Request:
        """End all that still runs, and forget everything."""
        del request
        if os.path.isdir(self.place.path):
            with self.place.locked():
                holder = self.place.who("holder")
                self.place.family().kill()
                if holder is not None:
                    send(holder, signal.SIGKILL)
                shutil.rmtree(self.place.path, ignore_errors=True)
        return {}

    def do_read(self, request: Request) -> None:
        """Answer when there is something to read, or when that has taken too long."""
        with self.held():
            self.take_down(request["taken"])
        if self.watch is None:
            self.watch = watching(self.place.path)
        request["until"] = time.monotonic() + request["wait"]
        self.waiting[request["id"]] = request

    def look(self) -> None:
        """Answer those who wait, if there is an answer."""
        for number, request in list(self.waiting.items()):
            ending = self.ending()  # before the sizes: what was printed by then is counted
            pieces, whole = [], True
            for name in OUTPUTS:
                left = self.place.size(name) - request[name]
                piece = b""
                if left > 0:
                    file = os.open(self.place.at(name), os.O_RDONLY)
                    try:
                        piece = pread(file, min(left, request["most"]), request[name])
                    finally:
                        os.close(file)
                pieces.append(piece)
                whole = whole and left <= len(piece)
            done = ending if ending is not None and whole else None
            if any(pieces) or done is not None or time.monotonic() >= request["until"]:
                del self.waiting[number]
                sizes = [len(piece) for piece in pieces]
                said = {"id": number, "sizes": sizes, "ended": done is not None, **(done or {})}
                write(json.dumps(said).encode() + b"\n" + b"".join(pieces))

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Be the only one who changes something about an agent that was started."""
        if not self.place.has("agent"):
            raise Refused("never", "it was never started")
        with self.place.locked():
            yield

    def ending(self) -> Request | None:
        """Say how the agent ended, None while it lives; ends what it left if nobody did."""
        status = self.place.text("exit")
        if status is None and self.place.who("holder") is None and self.place.who("agent") is None:
            # Once more: the holder may have written it and ended between the two looks.
            status = self.place.text("exit")
            if status is None:
                self.place.family().end(STRAY_GRACE_S)
                status = ""
                with contextlib.suppress(OSError):  # the disk is full, then; it is found out again
                    self.place.put("exit", status)
        if status is None:
            return None
        return {"status": int(status) if status.strip() else None}

    def keys(self) -> set[str]:
        """Give the keys of all that the agent was told; cuts off an entry that is not whole."""
        file = os.open(self.place.at("input"), os.O_RDWR)
        try:
            entries = Entries(file)
            keys = {key for key, _ in entries}
            os.ftruncate(file, entries.end)
            return keys
        finally:
            os.close(file)

    def append(self, key: str, data: bytes) -> None:
        """Add an entry."""
        with open(self.place.at("input"), "ab", opener=private) as file:
            file.write(json.dumps({"key": key, "size": len(data)}).encode() + b"\n" + data)
            file.flush()
            os.fsync(file.fileno())

    def take_down(self, taken: list[int]) -> None:
        """Remember what was taken down, and free the disk of what was long before."""
        before = self.place.taken()
        freed = list(before[2:])
        for at, name in enumerate(OUTPUTS):
            if taken[at] < freed[at]:
                raise Refused("freed", f"byte {taken[at]} of its {name} is gone")
            to = (taken[at] - KEPT) // BLOCK * BLOCK
            if self.frees and to - freed[at] >= KEPT:
                self.frees = punch(self.place.at(name), freed[at], to)
                freed[at] = to if self.frees else freed[at]
        now = TAKEN.pack(*taken, *freed)
        if now == TAKEN.pack(*before):
            return
        file = os.open(self.place.at("taken"), os.O_WRONLY | os.O_CREAT, 0o600)
        os.pwrite(file, now, 0)
        os.close(file)
        if self.place.has("full"):
            self.place.wake()


def write(data: bytes) -> None:
    """Say all of it to the other side."""
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


def watching(path: str) -> int | None:
    """Give what becomes readable when something is written in a directory, None where there is
    nothing of the kind.
    """
    try:
        library = libc()
        watch = library.inotify_init1(IN_NONBLOCK | os.O_CLOEXEC)
        mask = IN_MODIFY | IN_MOVED_TO | IN_CREATE
        if watch < 0 or library.inotify_add_watch(watch, os.fsencode(path), mask) < 0:
            return None
    except (OSError, AttributeError):
        return None
    return int(watch)


def punch(path: str, begin: int, end: int) -> bool:
    """Free the disk of a part of a file, and tell whether that works here."""
    import ctypes

    size = ctypes.c_longlong
    file = os.open(path, os.O_WRONLY)
    try:
        fallocate = libc().fallocate
        return bool(fallocate(file, KEEP_SIZE_AND_PUNCH, size(begin), size(end - begin)) == 0)
    except (OSError, AttributeError):
        return False
    finally:
        os.close(file)


def main() -> None:
    """Serve the task that the command line names, in the directory that it names."""
    Serving(Place(sys.argv[1], sys.argv[2])).run()


if __name__ == "__main__":
    main()
