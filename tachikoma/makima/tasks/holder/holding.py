"""The parent of an agent: detached from everything, it outlives whoever started it.

It feeds the agent's input, holds the agent up when nobody reads, and sees how it ends.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import shutil
import signal
import sys
from typing import NoReturn

from tachikoma.makima.tasks.holder.ground import (
    CHUNK,
    OUTPUTS,
    Entries,
    Place,
    Refused,
    Request,
    drain,
    libc,
)
from tachikoma.makima.tasks.holder.strays import MARK, Family, started

MOST_UNREAD = 64 << 20
"""Bytes of output that nobody has taken down at which the agent is held up."""
LOOK_S = 0.25
"""How often the holder looks how much that is, while there is more of it each time."""
QUIET_LOOK_S = 0.5
"""How often it looks at an agent that prints nothing: each look costs an emulated machine."""
STRAY_GRACE_S = 1.0
NO_PROGRAM = 127
ROOM = 8
"""Characters in which an exit status fits."""
NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ENOEXEC)
PR_SET_CHILD_SUBREAPER = 36


class Holding:
    """The parent of the agent: feeds it, holds it up when nobody reads, and sees how it ends."""

    def __init__(self, place: Place, agent: int, stdin: int) -> None:
        self.place = place
        self.agent = agent
        self.stdin: int | None = stdin
        self.entries = Entries(os.open(place.at("input"), os.O_RDONLY))
        self.pending = memoryview(b"")
        self.full = False
        self.printed = 0
        self.growing = True

    def run(self) -> None:
        """Hold the agent until it has ended, and all that it left with it."""
        bells, ring = os.pipe()
        for end in (bells, ring):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(ring)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        # Open for both: there is always somebody who may write, so it never reads as ended.
        fifo = os.open(self.place.at("wake"), os.O_RDWR | os.O_NONBLOCK)
        while (status := self.reaped()) is None:
            self.feed()
            self.hold_up()
            waiting = select.poll()
            for each in (bells, fifo):
                waiting.register(each, select.POLLIN)
            if self.stdin is not None and self.pending:
                waiting.register(self.stdin, select.POLLOUT)
            waiting.poll((LOOK_S if self.growing else QUIET_LOOK_S) * 1000)
            for each in (bells, fifo):
                drain(each)
        with self.place.locked():
            Family(holder=os.getpid(), agent=None, mark=self.place.mark).end(STRAY_GRACE_S)
            self.place.end(status)

    def reaped(self) -> int | None:
        """Take leave of children that ended, also those of others that came to us; gives the
        agent's exit status if it is among them.
        """
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return None
            if pid == 0:
                return None
            if pid == self.agent:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code

    def feed(self) -> None:
        """Hand on what there is to say, as much as the agent takes."""
        while self.stdin is not None and (self.pending or self.next_entry()):
            try:
                self.pending = self.pending[os.write(self.stdin, self.pending[:CHUNK]) :]
            except BlockingIOError:
                return
            except BrokenPipeError:
                self.close()

    def next_entry(self) -> bool:
        """Take the next entry, and tell whether there is one; one without a key ends the input."""
        for key, data in self.entries:
            if not key:
                self.close()
                return False
            if data:
                self.pending = memoryview(data)
                return True
        return False

    def close(self) -> None:
        """End the agent's input."""
        if self.stdin is not None:
            os.close(self.stdin)
        self.stdin = None

    def hold_up(self) -> None:
        """Stop the agent when too much is unread, and let it go on when most of it is read."""
        printed = sum(self.place.size(name) for name in OUTPUTS)
        self.growing, self.printed = printed > self.printed, printed
        unread = printed - sum(self.place.taken()[:2])
        if self.full == (unread > (MOST_UNREAD // 2 if self.full else MOST_UNREAD)):
            return
        family = Family(holder=os.getpid(), agent=None, mark=self.place.mark)
        with self.place.locked():
            self.full = not self.full
            if self.full:
                family.stop()
                with contextlib.suppress(OSError):  # the disk is full, then
                    self.place.put("full", "")
                return
            self.place.drop("full")
            if not self.place.has("paused"):
                family.go_on()


def begin(place: Place, launch: Request, lock: int) -> None:
    """Start the agent under a holder of its own; ``lock`` is held. Comes back when it runs.

    Raises:
        Refused: it cannot be started; nothing of it is left.
    """
    told, tell = os.pipe()
    middle = os.fork()
    if middle == 0:
        os.close(told)
        apart(place, launch, tell, lock)
    os.close(tell)
    os.waitpid(middle, 0)
    with os.fdopen(told, "rb") as file:
        said = json.loads(file.read() or b'["failed", "its holder ended"]')
    if said:
        place.family().kill()
        shutil.rmtree(place.path, ignore_errors=True)
        raise Refused(*said)


def apart(place: Place, launch: Request, tell: int, lock: int) -> NoReturn:
    """Go on as the holder: in a session of its own, with nobody's terminal or pipes."""
    try:
        os.setsid()
        if os.fork() > 0:
            os._exit(0)
        os.chdir("/")
        null = os.open(os.devnull, os.O_RDWR)
        log = os.open(place.at("log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for number, to in enumerate((null, null, log)):
            os.dup2(to, number)
        with contextlib.suppress(OSError, AttributeError):
            libc().prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        agent, stdin, said = born(place, launch)
        if said:
            place.drop("agent")
        with contextlib.suppress(BrokenPipeError):  # who started us was killed: nobody needs him
            os.write(tell, json.dumps(said).encode())
        for each in (tell, lock):
            os.close(each)
        if not said:
            Holding(place, agent, stdin).run()
        os._exit(0)
    except BaseException:  # noqa: BLE001 - a fork must not go on as its parent
        sys.excepthook(*sys.exc_info())
        os._exit(1)


def born(place: Place, launch: Request) -> tuple[int, int, list[str]]:
    """Start the agent itself; gives its id, its input, and what went wrong.

    It waits for a word before it becomes the program: it never runs without being recorded.
    """
    stdin, feed = os.pipe()
    go, let_go = os.pipe()
    failed, fail = os.pipe()
    agent = os.fork()
    if agent == 0:
        os.close(let_go)
        become(place, launch, stdin, go, fail)
    for each in (stdin, go, fail):
        os.close(each)
    os.set_blocking(feed, False)
    who = {"agent": (agent, started(agent)), "holder": (os.getpid(), started(os.getpid()))}
    place.put("room", " " * ROOM)
    place.put("agent", json.dumps(who))
    os.write(let_go, b"!")
    os.close(let_go)
    with os.fdopen(failed, "rb") as file:
        said = json.loads(file.read() or b"[]")
    return agent, feed, said


def become(place: Place, launch: Request, stdin: int, go: int, fail: int) -> NoReturn:
    """Turn this process into the agent."""
    kind = "failed"
    try:
        os.setsid()
        outputs = [
            os.open(place.at(name), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            for name in OUTPUTS
        ]
        for number, to in enumerate((stdin, *outputs)):
            os.dup2(to, number)
        for each in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGCHLD):
            signal.signal(each, signal.SIG_DFL)
        own = {"MAKIMA_TASK_ID": place.task, MARK: place.mark}
        environ = {**os.environ, **launch["env"], **own}
        if os.read(go, 1):
            kind = "directory"
            os.chdir(launch["directory"])
            kind = "missing"
            os.execvpe(launch["argv"][0], launch["argv"], environ)
    except OSError as error:
        if kind == "missing" and error.errno not in NOT_THERE:
            kind = "failed"
        os.write(fail, json.dumps([kind, os.strerror(error.errno or 0)]).encode())
    except ValueError as error:  # a NUL in an argument or a variable
        os.write(fail, json.dumps(["failed", str(error)]).encode())
    finally:
        os._exit(NO_PROGRAM)
