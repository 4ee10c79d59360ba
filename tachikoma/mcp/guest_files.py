"""Files in a VM, read and written over SSH like any command (the scripts are for sh)."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO

from tachikoma.mcp.shapes import FileRead
from tachikoma.model.errors import GuestFileError
from tachikoma.ssh.port import Shell
from tachikoma.vm.requests import ReachOutcome

LONGEST_PART = 1 << 20
_LONGEST_COMPLAINT = 4096

READ = """\
[ -e "$1" ] || { echo "there is no such file" >&2; exit 1; }
[ ! -d "$1" ] || { echo "it is a directory" >&2; exit 1; }
[ ! -p "$1" ] || { echo "it is a pipe" >&2; exit 1; }
exec 3<"$1" || exit 1
stat -L -c 'size %s' -- "$1" >&2 || exit 1
tail -c "+$(($2 + 1))" <&3 | head -c "$3"
"""

WRITE = """\
file=$(realpath -m -- "$1") || exit 1
[ ! -d "$file" ] || { echo "it is a directory" >&2; exit 1; }
mkdir -p -- "$(dirname -- "$file")" || exit 1
part=$(mktemp -- "$file.XXXXXX") || exit 1
trap 'rm -f -- "$part"' EXIT
cat >"$part" || exit 1
[ "$(stat -c %s -- "$part")" = "$2" ] || { echo "not all of it arrived" >&2; exit 1; }
if [ -e "$file" ]; then
  chmod --reference="$file" -- "$part"
else
  chmod "$(printf %o "$((0666 & ~0$(umask)))")" -- "$part"
fi || exit 1
mv -f -- "$part" "$file"
"""
"""Whole or not at all: a broken connection leaves the old file."""


async def read(shell: Shell, vm: ReachOutcome, path: str, *, offset: int, length: int) -> FileRead:
    """Give ``length`` bytes of a file from ``offset`` on (less at its end).

    Raises:
        GuestFileError: it is not there, a directory, or not readable.
    """
    data, said = bytearray(), bytearray()
    status = await shell.run(
        vm.login,
        ["sh", "-c", READ, "sh", path, str(offset), str(length)],
        directory=str(vm.worktree),
        stdin=None,
        on_stdout=data.extend,
        on_stderr=_up_to(said),
    )
    first, _, rest = bytes(said).decode("utf-8", "replace").partition("\n")
    if status != 0 or not first.startswith("size "):
        raise _failed(vm, path, f"{first}\n{rest}")
    size = max(int(first.removeprefix("size ")), offset + len(data))
    return shape(vm.name, path, bytes(data), offset=offset, size=size)


async def write(shell: Shell, vm: ReachOutcome, path: str, data: bytes) -> None:
    """Put ``data`` into a file, made with its directories if need be; its mode stays.

    Raises:
        GuestFileError: it is a directory, or cannot be written; the old file is as it was.
    """
    said = bytearray()
    with _as_input(data) as descriptor:
        status = await shell.run(
            vm.login,
            ["sh", "-c", WRITE, "sh", path, str(len(data))],
            directory=str(vm.worktree),
            stdin=descriptor,
            on_stdout=_up_to(bytearray()),
            on_stderr=_up_to(said),
        )
    if status != 0:
        raise _failed(vm, path, bytes(said).decode("utf-8", "replace"))


def shape(vm: str, path: str, data: bytes, *, offset: int, size: int) -> FileRead:
    """Say what was read (pure): text where it is text, with no character cut in two."""
    ends = offset + len(data) >= size
    text = _as_text(data, ends=ends)
    read_on = offset + (len(data) if text is None else len(text.encode()))
    return FileRead(
        vm_name=vm,
        path=path,
        size=size,
        offset=offset,
        encoding="base64" if text is None else "utf-8",
        content=base64.b64encode(data).decode("ascii") if text is None else text,
        next_offset=None if read_on >= size else read_on,
    )


def _as_text(data: bytes, *, ends: bool) -> str | None:
    """Give ``data`` as text, without a last character that goes on behind it; None if binary."""
    for cut in range(1 if ends else 4):
        try:
            return data[: len(data) - cut].decode("utf-8")
        except UnicodeDecodeError:
            continue
    return None


@contextmanager
def _as_input(data: bytes) -> Iterator[int]:
    """Give a descriptor from which ``data`` can be read."""
    import tempfile

    file: IO[bytes]
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        yield file.fileno()


def _up_to(held: bytearray) -> Callable[[bytes], None]:
    def take(data: bytes) -> None:
        held.extend(data[: _LONGEST_COMPLAINT - len(held)])

    return take


def _failed(vm: ReachOutcome, path: str, said: str) -> GuestFileError:
    why = said.strip().splitlines()[-1] if said.strip() else "no reason was given"
    return GuestFileError(
        f"{path} in {vm.name}: {why}",
        hint=f"a relative path starts at the worktree {vm.worktree}; exec `ls -la` shows more",
    )
