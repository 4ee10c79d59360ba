"""The record of the running proxy: its process id on the first line, the rest on the second."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from tachikoma.host import files, process
from tachikoma.host.paths import private_dir
from tachikoma.model.vm import Endpoint
from tachikoma.proxy.plan import CREDENTIAL_VARIABLES


@dataclass(frozen=True, slots=True)
class Announcement:
    """A proxy that listens.

    ``started`` tells its process from a later one with the same id. ``since`` is seconds since
    the epoch. ``marks`` has a few hex digits for each credential variable that it was given,
    salted, so that a shell with another value can be told; they say nothing about the value.
    """

    pid: int
    started: str
    host: str
    port: int
    version: str
    upstream: str
    since: float
    salt: str
    marks: Mapping[str, str]

    @property
    def endpoint(self) -> Endpoint:
        """Where it listens."""
        return Endpoint(self.host, self.port)

    @property
    def alive(self) -> bool:
        """Whether that very process still runs."""
        return process.start_time(self.pid) == self.started

    def lacks(self, environment: Mapping[str, str]) -> tuple[str, ...]:
        """Give the credential variables that ``environment`` has and the proxy was not given."""
        now = marks_of(environment, self.salt)
        return tuple(name for name, mark in now.items() if self.marks.get(name) != mark)


def marks_of(environment: Mapping[str, str], salt: str) -> dict[str, str]:
    """Give the marks of the credential variables that are set."""
    return {
        name: hashlib.sha256(f"{salt}\0{environment[name]}".encode("utf-8", "replace")).hexdigest()[
            :8
        ]
        for name in CREDENTIAL_VARIABLES
        if environment.get(name)
    }


def fresh_salt() -> str:
    """Give a salt for the marks of one proxy."""
    return os.urandom(8).hex()


def write(file: Path, announcement: Announcement) -> None:
    """Record ``announcement``.

    Raises:
        HostError: the file cannot be written.
    """
    rest = asdict(announcement)
    text = f"{rest.pop('pid')}\n{json.dumps(rest)}\n"
    private_dir(file.parent)
    files.write_atomically(file, text.encode("ascii"))


def read(file: Path) -> Announcement | None:
    """Give what is recorded; nothing if there is no file or it is not ours to understand."""
    try:
        first, _, rest = file.read_text(encoding="ascii").partition("\n")
        return Announcement(pid=int(first), **json.loads(rest))
    except (OSError, ValueError, TypeError):
        return None


def remove(file: Path, *, pid: int | None = None) -> None:
    """Remove the record if it is that of ``pid`` (by default this process)."""
    recorded = read(file)
    if recorded is not None and recorded.pid == (pid or os.getpid()):
        with contextlib.suppress(OSError):
            file.unlink()
