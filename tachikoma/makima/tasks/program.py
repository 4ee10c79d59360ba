"""The holder as one text, and the command line that it is run by (pure, but for reading it)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from uuid import UUID

_PARTS = ("strays.py", "ground.py", "holding.py", "serving.py")
_FUTURE = "from __future__ import annotations\n"
_OURS = re.compile(r"^from tachikoma\.[\w.]+ import (?:\([^)]*\)|.*)\n", re.MULTILINE)

# The text comes on standard input, before the first request: it is too long for a command line,
# and nobody wants to see it in a list of processes.
_FETCH = """\
import os, sys
text, size = b"", int(sys.argv.pop(1))
while len(text) < size:
    text += os.read(0, size - len(text)) or sys.exit(1)
exec(compile(text, "makima-holder", "exec"))
"""


@cache
def holder_text() -> bytes:
    """Give the program: its parts in order, without what they import of each other."""
    here = Path(__file__).with_name("holder")
    texts = ((here / name).read_text(encoding="utf-8") for name in _PARTS)
    return (_FUTURE + "".join(_OURS.sub("", text.replace(_FUTURE, "")) for text in texts)).encode()


def holder_argv(python: Sequence[str], *, root: str, task: UUID) -> list[str]:
    """Give the command that serves ``task`` below the directory ``root`` (``~`` is the home of
    whom it runs as). Its standard input begins with `holder_text`.
    """
    return [*python, "-I", "-S", "-c", _FETCH, str(len(holder_text())), root, str(task)]
