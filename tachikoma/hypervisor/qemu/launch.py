"""The program that becomes QEMU: holds the VM, starts its virtiofsd daemons, then executes QEMU.

Run as ``python -I -S launch.py SPEC`` in the VM's directory, detached. It imports nothing of ours
and little of the standard library, since every start waits for it. Starting from one process
that turns into QEMU makes a crash of the caller harmless at any moment:

* The lock on the VM's directory is inherited from the caller and by QEMU. So two starts cannot
  both win, there is no moment at which this program is about to start what nobody can know of, and
  the kernel lets go of the lock when QEMU ends, however that happens.
* The record of what runs (process ids with start times) is written here, before there is a QEMU,
  and when its monitor can be connected to.
* Every virtiofsd is a child of the process that becomes QEMU, and asks the kernel to be killed
  with it. QEMU cannot end, or fail to come up, and leave one behind.

Each virtiofsd runs in a user namespace in which id 1000, the guest's ``admin``, is the user who
started the VM, and id 0 is an id that owns nothing on this host. What the guest's root does to
a shared directory is done with the rights of that user at most, and only below that directory.

The guest's memory is a memfd made here: it takes no disk, however much the guest writes, and the
record tells its number, by which it is found again in /proc while QEMU runs. It begins as
nothing, or as a copy of a saved memory, of which a sparse file holds only what is not zero.

SPEC is JSON: ``lock`` (the number of the descriptor by which the VM is locked), ``record`` (the
name of a file, which is not there yet), ``about`` (what else the record says),
``qemu`` (argv, in which ``{memory}`` stands for the memfd and ``{monitor}`` for the listening
socket at the path ``monitor``), ``memory_size`` in bytes, ``memory_from`` (a file, or None),
``tied`` (the caller's process id, if it is to end with that, or None), ``shares`` (each with
``socket``, ``mountpoint``, ``directory``, ``read_only`` and ``argv``, in which ``{fd}`` stands for
the listening socket), ``uid_map`` and ``gid_map`` (lists of inside, outside, count) and
``id_tools``: whether newuidmap and newgidmap write the maps, as they do for everybody but root.
"""

# Importing pathlib would take as long as all the rest:
# ruff: noqa: PTH103, PTH104, PTH108, PTH116, PTH123

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import socket
import sys
from collections.abc import Iterator
from typing import Any, NoReturn

_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000
_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
# The numbers of these three are the same on every architecture.
_SYS_OPEN_TREE = 428
_SYS_MOVE_MOUNT = 429
_SYS_MOUNT_SETATTR = 442
_OPEN_TREE_CLONE = 1
_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_AT_RECURSIVE = 0x8000
_MOUNT_ATTR_RDONLY = 1
_FROM_EMPTY = 4  # MOVE_MOUNT_F_EMPTY_PATH
_INHERITABLE = True

_libc = ctypes.CDLL(None, use_errno=True)


class _MountAttr(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def main(text: str) -> NoReturn:
    """Start what ``text`` describes, and become it."""
    spec: dict[str, Any] = json.loads(text)
    if spec["tied"] is not None:
        _call("prctl", _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))
        if os.getppid() != spec["tied"]:  # it ended before that could be asked for
            _give_up("the command that wanted this has ended")
    lock = spec["lock"]
    os.set_inheritable(lock, not _INHERITABLE)  # the daemons must not hold it
    os.ftruncate(2, 0)  # the log is of this start
    daemons = [_start_share(share, spec) for share in spec["shares"]]
    processes = {"qemu": _identity(os.getpid()), "daemons": [_identity(pid) for pid in daemons]}
    memory = _memory(spec["memory_size"], spec["memory_from"])
    monitor = _listen(spec["monitor"]).detach()
    _write(spec["record"], json.dumps(spec["about"] | processes | {"memory": memory}))
    for descriptor in (lock, memory, monitor):  # only now: all daemons have been started
        os.set_inheritable(descriptor, _INHERITABLE)
    _call("prctl", _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    numbers = {"{memory}": memory, "{monitor}": monitor}
    argv = [_filled(part, numbers) for part in spec["qemu"]]
    os.execv(argv[0], argv)  # noqa: S606  the point of this program


def check(text: str) -> int:
    """Try whether a user namespace with the maps of ``text`` can be had; give an exit status."""
    spec: dict[str, Any] = json.loads(text)
    pid, ready = _fork_into_namespace()
    if pid == 0:
        _become_root_inside()
        os._exit(0)
    _map_ids(pid, spec)
    os.write(ready, b"!")
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _memory(size: int, saved: str | None) -> int:
    """Make the guest's memory; it holds what the file ``saved`` holds, where that has data."""
    memory = os.memfd_create("guest-memory", os.MFD_CLOEXEC)
    os.ftruncate(memory, size)
    if saved is None:
        return memory
    file = os.open(saved, os.O_RDONLY | os.O_CLOEXEC)
    if os.fstat(file).st_size != size:
        _give_up(f"{saved} does not hold a memory of {size} bytes")
    for start, end in _extents(file, size):
        os.lseek(memory, start, os.SEEK_SET)
        at = start
        while at < end:
            copied = os.sendfile(memory, file, at, end - at)
            if copied == 0:
                _give_up(f"{saved} was cut short")
            at += copied
    os.close(file)
    return memory


def _extents(file: int, size: int) -> Iterator[tuple[int, int]]:
    """Give where a sparse file has data: start and end of each piece."""
    end = 0
    while end < size:
        try:
            start = os.lseek(file, end, os.SEEK_DATA)
        except OSError:  # from here on there is only a hole
            return
        end = os.lseek(file, start, os.SEEK_HOLE)
        yield start, end


def _start_share(share: dict[str, Any], spec: dict[str, Any]) -> int:
    os.makedirs(share["mountpoint"], mode=0o700, exist_ok=True)
    listener = _listen(share["socket"])
    # Entered before the ids change: the way there may be open to this user's groups only.
    here = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.chdir(share["directory"])
    except OSError as error:
        _give_up(f"{share['directory']}: {error.strerror}")
    parent = os.getpid()
    pid, ready = _fork_into_namespace()
    if pid == 0:
        _become_root_inside()
        _attach(share)
        _be_virtiofsd(share, listener.fileno(), parent)
    os.fchdir(here)
    os.close(here)
    listener.close()
    _map_ids(pid, spec)
    os.write(ready, b"!")
    os.close(ready)
    return pid


def _listen(path: str) -> socket.socket:
    """Listen before there is a program that does: who connects need not wait for it."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # of a start before this one
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(1)
    return listener


def _filled(part: str, numbers: dict[str, int]) -> str:
    for name, number in numbers.items():
        part = part.replace(name, str(number))
    return part


def _fork_into_namespace() -> tuple[int, int]:
    """Fork a child that is in namespaces of its own and goes on when its ids are mapped.

    The parent gets the child's pid and a descriptor: one byte written there lets the child go.
    """
    unshared, tell_parent = os.pipe()
    wait_for_map, ready = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(ready)
        _call("unshare", _libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNS))
        os.write(tell_parent, b"!")
        if not os.read(wait_for_map, 1):
            os._exit(1)  # the parent gave up and has said why
        os.close(wait_for_map)
        os.close(unshared)
        os.close(tell_parent)
        return 0, -1
    os.close(tell_parent)
    os.close(wait_for_map)
    if not os.read(unshared, 1):
        _give_up("this user may not make user namespaces")
    os.close(unshared)
    return pid, ready


def _map_ids(pid: int, spec: dict[str, Any]) -> None:
    for kind in ("uid", "gid"):
        lines: list[list[int]] = spec[f"{kind}_map"]
        if not spec["id_tools"]:
            text = "".join(f"{inside} {outside} {count}\n" for inside, outside, count in lines)
            try:
                with open(f"/proc/{pid}/{kind}_map", "w", encoding="ascii") as file:
                    file.write(text)
            except OSError as error:
                _give_up(f"the {kind}s of a user namespace cannot be mapped: {error.strerror}")
            continue
        numbers = [str(number) for line in lines for number in line]
        argv = [f"new{kind}map", str(pid), *numbers]
        tool = os.posix_spawnp(argv[0], argv, os.environ)  # noqa: TID251  handed on as it is
        if os.waitstatus_to_exitcode(os.waitpid(tool, 0)[1]) != 0:
            _give_up(f"`{' '.join(argv)}` failed")


def _become_root_inside() -> None:
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def _attach(share: dict[str, Any]) -> None:
    """Put a view of the current directory at the share's mount point, seen by this child only.

    The daemon is then told an absolute path at which there is the directory or nothing. It must
    not be told a relative one: the one in C goes to ``/`` first and would share the whole host.
    A view that is read-only is so for every daemon, whatever it thinks of it.
    """
    flags = _OPEN_TREE_CLONE | _AT_RECURSIVE | os.O_CLOEXEC
    view = _call("open_tree", _libc.syscall(_SYS_OPEN_TREE, _AT_FDCWD, b".", flags))
    if share["read_only"]:
        wanted = _MountAttr(attr_set=_MOUNT_ATTR_RDONLY)
        how = (_AT_EMPTY_PATH | _AT_RECURSIVE, ctypes.byref(wanted), ctypes.sizeof(wanted))
        _call("mount_setattr", _libc.syscall(_SYS_MOUNT_SETATTR, view, b"", *how))
    place = os.fsencode(share["mountpoint"])
    _call("move_mount", _libc.syscall(_SYS_MOVE_MOUNT, view, b"", _AT_FDCWD, place, _FROM_EMPTY))
    wanted_directory, attached = os.stat("."), os.stat(share["mountpoint"])
    if not os.path.samestat(wanted_directory, attached):
        _give_up(f"{share['directory']} could not be attached at {share['mountpoint']}")
    os.chdir(share["mountpoint"])


def _be_virtiofsd(share: dict[str, Any], listener: int, parent: int) -> NoReturn:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # it holds one for each known file
    # Asked for after the ids have changed, which would undo it.
    _call("prctl", _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))
    if os.getppid() != parent:
        os._exit(1)
    os.set_inheritable(listener, _INHERITABLE)
    argv = [part.replace("{fd}", str(listener)) for part in share["argv"]]
    os.execv(argv[0], argv)  # noqa: S606  the point of this program


def _identity(pid: int) -> dict[str, Any]:
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        return {"pid": pid, "started": file.read().rpartition(")")[2].split()[19]}


def _write(path: str, text: str) -> None:
    temporary = f"{path}.tmp"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    os.write(descriptor, text.encode())
    os.fsync(descriptor)
    os.close(descriptor)
    os.rename(temporary, path)


def _call(name: str, result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        _give_up(f"{name}: {os.strerror(number)}")
    return result


def _give_up(why: str) -> NoReturn:
    os.write(2, f"tachikoma: {why}\n".encode())
    os._exit(1)


if __name__ == "__main__":
    if sys.argv[1] == "--check":
        sys.exit(check(sys.argv[2]))
    main(sys.argv[1])
