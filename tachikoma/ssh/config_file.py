"""The managed block in ``~/.ssh/config``: every byte outside of it stays as it is.

The block comes first, since ssh takes the first value that it meets, and ends in ``Match all``,
so that what stands before the first ``Host`` line of the user's keeps holding for every host.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tachikoma.host import files
from tachikoma.model.errors import SshError
from tachikoma.model.names import PREFIX, VmName

BEGIN = b"# >>> tachikoma: `tachikoma ssh uninstall` removes this block >>>"
END = b"# <<< tachikoma <<<"
_Change = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class Access:
    """What the block says. ``connect`` is the argv that, with a VM's name behind it, hands ssh a
    connection to that VM: its port is asked for at each connection, since it changes.
    """

    vms: Sequence[VmName]
    user: str
    key: Path
    known_hosts: Path
    connect: Sequence[str]


def block(access: Access) -> bytes:
    """Give the lines of the block. VMs are named for programs that list hosts; the pattern
    behind them serves those that come later.
    """
    connect = shlex.join(part.replace("%", "%%") for part in access.connect)
    names = " ".join((*access.vms, f"{PREFIX}*"))
    options = (
        "HostName %h",
        "Port 22",
        f"User {access.user}",
        f"ProxyCommand {connect} '%h'",
        "ProxyUseFdpass yes",
        f"IdentityFile {_path(access.key)}",
        "IdentitiesOnly yes",
        "IdentityAgent none",
        f"UserKnownHostsFile {_path(access.known_hosts, '/%h')}",
        "GlobalKnownHostsFile /dev/null",
        "StrictHostKeyChecking yes",
        "UpdateHostKeys no",
        "CheckHostIP no",
        "ForwardAgent no",
        "ForwardX11 no",
        "PermitLocalCommand no",
    )
    body = "".join(f"    {option}\n" for option in options)
    text = f"Host {names}\n{body}Match all\n"
    return BEGIN + b"\n" + text.encode("utf-8", "surrogateescape") + END + b"\n"


def with_block(text: bytes, made: bytes) -> bytes:
    """Give ``text`` with the block ``made``: in the place of the old one, or else first.

    Raises:
        SshError: the marks of a block are there, but not one begin and one end.
    """
    place = _place(text)
    return made + text if place is None else text[: place[0]] + made + text[place[1] :]


def without_block(text: bytes) -> bytes:
    """Give ``text`` without the block; the same text if there is none.

    Raises:
        SshError: as ``with_block``.
    """
    place = _place(text)
    return text if place is None else text[: place[0]] + text[place[1] :]


def has_block(text: bytes) -> bool:
    """Tell whether there is a block.

    Raises:
        SshError: as ``with_block``.
    """
    return _place(text) is not None


def _place(text: bytes) -> tuple[int, int] | None:
    """Find the block: where it begins, and where the line after its end begins."""
    begins: list[int] = []
    ends: list[int] = []
    at = 0
    for line in text.splitlines(keepends=True):
        # bytes.splitlines takes a lone carriage return for a line end as well; so does this.
        if line.rstrip(b"\r\n") == BEGIN:
            begins.append(at)
        at += len(line)
        if line.rstrip(b"\r\n") == END:
            ends.append(at)
    if not begins and not ends:
        return None
    if len(begins) == len(ends) == 1 and begins[0] < ends[0]:
        return begins[0], ends[0]
    raise SshError(
        f"the marks of tachikoma's block in the ssh configuration are damaged "
        f"({len(begins)} begin, {len(ends)} end)",
        hint=f"remove the lines {BEGIN.decode()!r} and {END.decode()!r} and what is between them",
    )


def _path(path: Path, tokens: str = "") -> str:
    """Give ``path`` so that ssh takes it as it is, no list and no %-token; ``tokens`` behind it."""
    plain = str(path).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{plain}{tokens}"'


class ConfigFile:
    """The user's ssh configuration at ``path``, changed under ``lock`` and replaced whole.

    A symbolic link stays one: the file that it leads to is replaced.
    """

    def __init__(self, *, path: Path, lock: Path) -> None:
        self._path = path
        self._lock = lock

    def installed(self) -> bool:
        """Tell whether the block is there.

        Raises:
            SshError: its marks are damaged.
        """
        return has_block(self._read())

    def install(self, access: Access) -> bool:
        """Put the block in, or make it anew. False: it was there just so.

        Raises:
            SshError: its marks are damaged; nothing is changed.
            HostError: the file cannot be written; it stays as it was.
        """
        return self._change(lambda text: with_block(text, block(access)))

    def refresh(self, access: Access) -> bool:
        """Make the block anew where there is one. False: nothing was to do."""
        return self._change(
            lambda text: with_block(text, block(access)) if has_block(text) else text
        )

    def uninstall(self) -> bool:
        """Take the block out. False: there was none."""
        return self._change(without_block)

    def _change(self, change: _Change) -> bool:
        try:
            with files.locked(self._lock):
                text = self._read()
                changed = change(text)
                if changed == text:
                    return False
                self._write(changed)
        except TimeoutError as error:
            raise SshError(
                f"another process holds {self._lock}", hint="end it, then run this again"
            ) from error
        return True

    def _read(self) -> bytes:
        with files.translated(self._path):
            try:
                return self._path.read_bytes()
            except FileNotFoundError:
                return b""

    def _write(self, text: bytes) -> None:
        with files.translated(self._path):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            target = self._path.resolve()
            mode = target.stat().st_mode & 0o777 if target.exists() else 0o600
            for left in target.parent.glob(f".{target.name}.*.tmp"):  # of a writer that was killed
                left.unlink(missing_ok=True)
        files.write_atomically(target, text, mode=mode)
