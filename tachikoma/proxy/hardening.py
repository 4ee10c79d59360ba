"""What a process does first when it is going to hold a credential."""

from __future__ import annotations

import contextlib
import ctypes
import resource
import sys

_PR_SET_DUMPABLE = 4
_FILES = 1 << 16


def keep_memory_private() -> None:
    """Leave no core dump, and let no other process of this user read our memory.

    On Linux the process also becomes "not dumpable": its environment and memory under
    ``/proc`` belong to root, and no debugger of the same user can attach.
    """
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def allow_many_files() -> None:
    """Let this process have as many connections as the system gives a user."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if most == resource.RLIM_INFINITY else min(most, _FILES)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
