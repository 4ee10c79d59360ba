"""What a process does first when it is going to hold a credential."""

from __future__ import annotations

import contextlib
import ctypes
import resource
import sys

_PR_SET_DUMPABLE = 4


def keep_memory_private() -> None:
    """Leave no core dump, and let no other process of this user read our memory.

    On Linux the process also becomes "not dumpable": its environment and memory under
    ``/proc`` belong to root, and no debugger of the same user can attach.
    """
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
