"""Files and directories in and out of a VM: one tar stream over one SSH command.

What comes out of a VM is a guest's word. Every name is checked, nothing is created through a
symbolic link, and only files, directories and symbolic links are taken.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import posixpath
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from tachikoma.model.errors import CopyError
from tachikoma.ssh.landing import Copied, Landing
from tachikoma.ssh.port import Login, Shell

_LONGEST_COMPLAINT = 2000
_UNPACK = 'exec tar -x -p -f - -C "$1"'
_PLACE = """\
if [ -d "$1" ]; then printf 'inside\\n%s' "$1"; exit; fi
case $1 in */) echo "there is no directory $1" >&2; exit 1;; esac
parent=$(dirname -- "$1")
[ -d "$parent" ] || { echo "there is no directory $parent" >&2; exit 1; }
printf 'as\\n%s' "$parent"
"""
_PACK = """\
[ -e "$1" ] || [ -L "$1" ] || { echo "there is no $1" >&2; exit 1; }
cd -- "$(dirname -- "$1")" || exit 1
exec tar -c -f - --format=pax --hard-dereference -- "$(basename -- "$1")"
"""


async def copy_in(
    shell: Shell, login: Login, source: Path, target: str, *, directory: str
) -> Copied:
    """Copy ``source`` of this host to ``target`` in the VM: into it, if it is a directory there.

    A relative ``target`` starts from ``directory``. Modes and times are kept exactly, symbolic
    links as links.

    Raises:
        CopyError: there is no ``source``, or the VM cannot take it; says why.
        SshError: the VM cannot be reached.
    """
    name = _name(source)
    answer = bytearray()
    await _in_vm(shell, login, (_PLACE, target), directory, on_stdout=answer.extend)
    how, _, where = answer.decode("utf-8", "surrogateescape").partition("\n")
    arcname = name if how == "inside" else posixpath.basename(target)
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", buffering=0) as from_us:
        out = os.fdopen(writing, "wb")
        packing = asyncio.get_running_loop().run_in_executor(None, _pack, source, arcname, out)
        try:
            await _in_vm(shell, login, (_UNPACK, where), directory, stdin=from_us.fileno())
        except BaseException:
            from_us.close()  # the packing thread then meets a broken pipe, and ends
            with contextlib.suppress(CopyError):
                await asyncio.shield(packing)
            raise
    return await packing


async def copy_out(
    shell: Shell, login: Login, source: str, target: Path, *, directory: str
) -> Copied:
    """Copy ``source`` of the VM to ``target`` on this host: into it, if it is a directory.

    A relative ``source`` starts from ``directory``. Permissions and times are kept exactly,
    symbolic links as links; set-user-ID and the like are not taken from a guest. A file that is
    there is replaced whole; nothing is written through a symbolic link.

    Raises:
        CopyError: there is no ``source``, a place cannot be written, or the VM sent a name that
            leads outside ``target``; what came before is there.
        SshError: the VM cannot be reached.
    """
    name = posixpath.basename(posixpath.normpath(source))
    parent, arcname = _landing_place(target, name)
    reading, writing = os.pipe()
    incoming = os.fdopen(reading, "rb")
    unpacking = asyncio.get_running_loop().run_in_executor(None, _unpack, incoming, parent, arcname)
    with os.fdopen(writing, "wb", buffering=0) as to_us:
        os.set_blocking(to_us.fileno(), True)

        def take(data: bytes) -> None:
            with contextlib.suppress(BrokenPipeError):  # why it ended is said by the unpacking
                to_us.write(data)

        try:
            await _in_vm(shell, login, (_PACK, source), directory, on_stdout=take)
        except BaseException:
            to_us.close()
            with contextlib.suppress(CopyError):
                await asyncio.shield(unpacking)
            raise
    return await unpacking


def _ignore(_data: bytes) -> None:
    pass


async def _in_vm(
    shell: Shell,
    login: Login,
    script: tuple[str, str],
    directory: str,
    *,
    stdin: int | None = None,
    on_stdout: Callable[[bytes], None] = _ignore,
) -> None:
    """Run a script of ours with one argument in the VM.

    Raises:
        CopyError: it ended with an error; says what it said.
    """
    complaint = bytearray()

    def complain(data: bytes) -> None:
        complaint.extend(data[: _LONGEST_COMPLAINT - len(complaint)])

    status = await shell.run(
        login,
        ("sh", "-c", script[0], "tachikoma", script[1]),
        directory=directory,
        stdin=stdin,
        on_stdout=on_stdout,
        on_stderr=complain,
    )
    if status != 0:
        said = complaint.decode("utf-8", "replace").strip().removeprefix("tar: ")
        raise CopyError(
            f"{login.vm}: {said.splitlines()[0] if said else f'tar ended with status {status}'}",
            hint="look at the path, and at who may read and write there",
            details="\n".join(said.splitlines()[1:]),
        )


def _pack(source: Path, arcname: str, out: IO[bytes]) -> Copied:
    """Write ``source`` to ``out`` as a tar stream; blocks."""
    copied = Copied()

    def count(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        if not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
            copied.skipped.append(member.name)
            return None
        copied.files += not member.isdir()
        copied.size += member.size
        return member

    try:
        with out, tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as tar:
            tar.add(source, arcname=arcname, filter=count)
    except BrokenPipeError:
        pass  # the VM's side has ended, and says why
    except (OSError, tarfile.TarError) as error:
        raise CopyError(
            f"{source} cannot be read whole: {error}", hint="look at who may read it"
        ) from error
    return copied


def _unpack(incoming: IO[bytes], parent: Path, arcname: str) -> Copied:
    """Put what the tar stream ``incoming`` holds into ``parent``, called ``arcname``; blocks."""
    with incoming, Landing(parent, arcname) as landing:
        try:
            with tarfile.open(fileobj=incoming, mode="r|") as tar:
                for member in tar:
                    landing.take(member, tar.extractfile(member) if member.isreg() else None)
        except tarfile.ReadError as error:
            if landing.empty and "empty" in str(error):
                return landing.copied  # nothing came: the VM's side says why
            raise CopyError(
                f"what the VM sent is no archive: {error}", hint="try it again"
            ) from error
    return landing.copied


def _name(source: Path) -> str:
    if not os.path.lexists(source):
        raise CopyError(f"there is no {source}", hint="look at the path")
    return Path(os.path.abspath(source)).name or "root"  # noqa: PTH100 - keeps a link as it is


def _landing_place(target: Path, name: str) -> tuple[Path, str]:
    """Say into which directory, and under which name, something called ``name`` goes."""
    if target.is_dir():
        if name in ("", ".", ".."):
            raise CopyError(
                "what is to be copied has no name of its own",
                hint="name the directory itself, such as feature/x:/home/admin",
            )
        return target, name
    if not target.parent.is_dir():
        raise CopyError(f"there is no directory {target.parent}", hint="make it first")
    return target.parent, target.name
