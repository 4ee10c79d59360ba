"""What lets go of the shared directories inside a guest that is to be suspended: runs as root.

All or nothing: as long as something in the guest uses one of them, nothing is changed, and what
uses them is told on standard output, a line of JSON each: ``pid``, ``command``, ``path``.
Python 3.9 or newer; exit status 0: all are unmounted, 3: in use, 1: something else.
"""

import json
import os
import sys

READY = "/run/tachikoma/ready"
IN_USE = 3


def main() -> int:
    """Unmount every share, or tell who holds them."""
    shares = mounted()
    holders = [about for pid in processes() for about in held_by(pid, list(shares))]
    for about in holders:
        print(json.dumps(about))
    if holders:
        return IN_USE
    os.sync()
    mark = b""
    if os.path.exists(READY):  # the host mounts them again when it goes on
        with open(READY, "rb") as file:
            mark = file.read()
        os.unlink(READY)
    gone: list[str] = []
    for share in sorted(shares, key=len, reverse=True):
        if run("umount", share) != 0:  # something began to use it just now
            for path in reversed(gone):
                tag, mode = shares[path]
                run("mount", "-t", "virtiofs", "-o", "nosuid,nodev," + mode, tag, path)
            if mark:
                with open(READY, "wb") as file:
                    file.write(mark)
            return 1
        gone.append(share)
    return 0


def run(*argv: str) -> int:
    """Run a program to its end and give its exit status."""
    return os.spawnvp(os.P_WAIT, argv[0], argv)


def mounted() -> "dict[str, tuple[str, str]]":
    """Say where shares are mounted, each with its tag and ``rw`` or ``ro``."""
    with open("/proc/mounts", errors="surrogateescape") as file:
        rows = [line.split(" ") for line in file]
    return {
        unescaped(row[1]): (unescaped(row[0]), row[3].split(",")[0])
        for row in rows
        if row[2] == "virtiofs"
    }


def unescaped(path: str) -> str:
    """Give a path of the kernel's table of mounts, which spells some characters in octal."""
    raw = path.encode(errors="surrogateescape").decode("unicode_escape").encode("latin-1")
    return raw.decode(errors="surrogateescape")


def processes() -> "list[int]":
    """List what runs, but for this program."""
    return [
        int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()
    ]


def held_by(pid: int, shares: "list[str]") -> "list[dict[str, object]]":
    """Say which paths in the shares a process uses: a few suffice."""
    directory = "/proc/" + str(pid)
    links = [directory + "/cwd", directory + "/root", directory + "/exe"]
    try:
        links += [directory + "/fd/" + name for name in os.listdir(directory + "/fd")]
        with open(directory + "/maps", errors="surrogateescape") as file:
            rows = [line.rstrip("\n").split(None, 5) for line in file]
        with open(directory + "/comm", errors="surrogateescape") as file:
            command = file.read().strip()
    except OSError:
        return []  # it has just ended
    used = sorted({target(link) for link in links} | {row[5] for row in rows if len(row) > 5})
    return [
        {"pid": pid, "command": command, "path": path}
        for path in used
        if any(path == share or path.startswith(share.rstrip("/") + "/") for share in shares)
    ][:1]


def target(link: str) -> str:
    """Say where a link leads; nowhere if it has gone."""
    try:
        return os.readlink(link)
    except OSError:
        return ""


if __name__ == "__main__":
    sys.exit(main())
