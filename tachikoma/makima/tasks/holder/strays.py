"""The processes of one agent, wherever they went, and what can be done to all of them.

While the holder lives, everything that the agent started descends from it, since orphans come to
it (Linux). When it was killed, they are found by a mark in the environment that they began with.
A process of another user (``sudo``) is out of reach.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time

MARK = "MAKIMA_HELD_BY"
"""The variable that every process of a task begins with."""
STOP_S = 3.0
KILL_S = 10.0
AGAIN_S = 0.01
STOPPED = "Tt"
GONE = "ZX"

Table = dict[int, tuple[int, str]]
"""Of each process that lives: its parent and its state."""


class Family:
    """The processes of the agent of one task: below ``holder``, or marked if that is None.

    ``agent`` is the agent itself, None if it has ended.
    """

    def __init__(self, *, holder: int | None, agent: int | None, mark: str) -> None:
        self.holder = holder
        self.agent = agent
        self.mark = mark

    def members(self) -> Table:
        """Look who lives now; parents come before their children."""
        table = processes()
        if self.holder is not None and not started(self.holder):
            self.holder = None  # killed meanwhile: its orphans have gone to somebody else
        roots = {each for each in (self.holder, self.agent) if each is not None}
        if self.holder is None or not orphans_come():
            roots |= marked(self.mark, table)
        found = below(roots, table)
        if self.holder is not None:
            found.pop(self.holder, None)
        return found

    def stop(self) -> None:
        """Stop them all. New ones are looked for until everyone is seen standing still."""
        end = time.monotonic() + STOP_S
        while True:
            moving = [pid for pid, (_, state) in self.members().items() if state not in STOPPED]
            if not moving or time.monotonic() > end:
                return
            for pid in moving:
                send(pid, signal.SIGSTOP)
            time.sleep(AGAIN_S)

    def go_on(self) -> None:
        """Let them all go on, children first: no parent sees that they had been stopped."""
        for pid in reversed(list(self.members())):
            send(pid, signal.SIGCONT)

    def terminate(self) -> None:
        """Ask them all to end."""
        for pid in self.members():
            send(pid, signal.SIGTERM)
        self.go_on()

    def kill(self) -> None:
        """Kill them all, until none is left; what cannot be killed is left after some seconds."""
        self.stop()
        end = time.monotonic() + KILL_S
        while True:
            left = self.members()
            for pid in left:
                send(pid, signal.SIGKILL)
            if not left or time.monotonic() > end:
                return
            time.sleep(AGAIN_S)

    def end(self, grace_s: float) -> None:
        """Ask those that are left to end, and kill them if they do not."""
        if not self.members():
            return
        self.terminate()
        end = time.monotonic() + grace_s
        while self.members() and time.monotonic() < end:
            time.sleep(AGAIN_S)
        self.kill()


def send(pid: int, what: int) -> None:
    """Send a signal to a process that may be gone, or may not be ours."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, what)


def below(roots: set[int], table: Table) -> Table:
    """Give ``roots`` and all that descends from them, parents first (pure)."""
    children: dict[int, list[int]] = {}
    for pid, (parent, _) in table.items():
        children.setdefault(parent, []).append(pid)
    found: Table = {}
    waiting = [pid for pid in sorted(roots) if pid in table]
    while waiting:
        pid = waiting.pop(0)
        if pid not in found:
            found[pid] = table[pid]
            waiting += children.get(pid, [])
    return found


def orphans_come() -> bool:
    """Tell whether this is Linux: there is /proc, and orphans come to who asks for them."""
    return os.path.isdir("/proc/self")


def processes() -> Table:
    """List what lives on this machine."""
    if not orphans_come():
        return processes_by_ps()
    table = {}
    for name in os.listdir("/proc"):
        fields = stat(int(name)) if name.isdigit() else []
        if fields and fields[0] not in GONE:
            table[int(name)] = (int(fields[1]), fields[0])
    return table


def marked(mark: str, table: Table) -> set[int]:
    """Find those whose environment began with ``mark``."""
    entry = f"{MARK}={mark}".encode()
    if not orphans_come():
        return marked_by_ps(entry, table)
    return {pid for pid in table if entry in read(f"/proc/{pid}/environ").split(b"\0")}


def started(pid: int) -> str:
    """Give what tells this process from any other with its id; "" if it is gone."""
    if not orphans_come():
        return ps("-o", "lstart=", "-p", str(pid)).decode("utf-8", "replace").strip()
    fields = stat(pid)
    if not fields or fields[0] in GONE:
        return ""
    return read("/proc/sys/kernel/random/boot_id").decode().strip() + " " + fields[19]


def stat(pid: int) -> list[str]:
    """Give the fields of a process from its state on (``proc_pid_stat(5)``)."""
    return read(f"/proc/{pid}/stat").rpartition(b")")[2].decode("ascii").split()


def read(path: str) -> bytes:
    """Give what a file holds, nothing if it is gone or not for us."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def processes_by_ps() -> Table:
    """List what lives where there is no /proc (macOS)."""
    rows = (row.split(None, 2) for row in ps("-axo", "pid=,ppid=,stat=").decode().splitlines())
    return {int(row[0]): (int(row[1]), row[2][:1]) for row in rows if row[2][:1] not in GONE}


def marked_by_ps(entry: bytes, table: Table) -> set[int]:
    """Find the marked ones where there is no /proc; who hides its environment is not found."""
    rows = (row.split(None, 1) for row in ps("-axwwE", "-o", "pid=,command=").splitlines())
    return {int(row[0]) for row in rows if entry in row[1].split()} & set(table)


def ps(*options: str) -> bytes:
    """Ask ``ps``."""
    import subprocess  # where there is /proc nobody needs it

    return subprocess.run(
        ["ps", *options], stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=KILL_S
    ).stdout
