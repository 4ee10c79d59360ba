"""Ports of VMs on this host's loopback: one detached ``ssh -N -L`` for each.

An ssh of its own fits every engine, and reaches what listens on the guest's loopback, as
development servers do; a port forwarded by the hypervisor would only reach its network card. It
ends when the VM does: the connection breaks. ``<host port>.json`` says which process it is, and
is believed only while that process lives, so nobody has to remove it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import socket
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tachikoma.host import files, process
from tachikoma.host.clock import Clock, attempts
from tachikoma.host.paths import private_dir
from tachikoma.model.errors import HostError, PortTakenError, SshUnreachableError
from tachikoma.model.names import VmName
from tachikoma.ssh.openssh import options_for
from tachikoma.ssh.port import Forward, Login

_UP_S = 20.0
_LAST_LINES = 5
_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class _Record:
    """A forward as its file has it; ``started`` tells its process from a later one."""

    vm: str
    guest_port: int
    host_port: int
    pid: int
    started: str
    since: float


def forward_argv(login: Login, *, guest_port: int, host_port: int) -> list[str]:
    """Give the argv of an ``ssh`` that does nothing but forward, or ends (pure)."""
    wanted = [
        option for option in options_for(login) if not option.startswith("ClearAllForwardings")
    ]
    options = [part for option in (*wanted, "ExitOnForwardFailure=yes") for part in ("-o", option)]
    return [
        *["ssh", "-F", "/dev/null", "-N", "-T", "-n"],
        *options,
        *["-L", f"{_LOOPBACK}:{host_port}:localhost:{guest_port}"],
        *["-p", str(login.endpoint.port), "-l", login.user],
        *["--", login.endpoint.host],
    ]


class SshForwards:
    """Implements the port ``Forwards``; keeps its records in ``directory``."""

    def __init__(self, *, directory: Path, clock: Clock) -> None:
        self._directory = directory
        self._clock = clock

    async def open(self, login: Login, *, guest_port: int, host_port: int) -> Forward:
        """Forward, and come back when the port is open on this host.

        If that fails, nothing of it runs and nothing is recorded.

        Raises:
            PortTakenError: something else listens on that port of this host.
            SshUnreachableError: the VM does not answer; details hold what ssh said.
        """
        for known in self._living():
            if known.host_port == host_port:
                if (known.vm, known.guest_port) == (login.vm, guest_port):
                    return _forward(known)
                raise _taken(host_port, f"it leads to port {known.guest_port} of {known.vm}")
        if not _is_free(host_port):
            raise _taken(host_port, "another program listens there")
        private_dir(self._directory)
        log = self._file(host_port).with_suffix(".log")
        log.unlink(missing_ok=True)
        argv = forward_argv(login, guest_port=guest_port, host_port=host_port)
        pid = process.detach(argv, log=log, cwd=Path("/"))
        record = _Record(
            vm=login.vm,
            guest_port=guest_port,
            host_port=host_port,
            pid=pid,
            started=process.start_time(pid) or "",
            since=self._clock.now(),
        )
        try:
            self._write(record)
            await self._until_open(record, log)
        except BaseException:
            await asyncio.shield(asyncio.to_thread(self._end, record))
            raise
        return _forward(record)

    def all(self) -> list[Forward]:
        """List what is forwarded now, by VM and port."""
        found = [_forward(record) for record in self._living()]
        return sorted(found, key=lambda one: (one.vm, one.guest_port, one.host_port))

    async def close(self, vm: VmName, *, host_port: int | None = None) -> list[Forward]:
        """End those of ``vm``, or the one at ``host_port``; gives what there was."""
        wanted = [
            record
            for record in self._living()
            if record.vm == vm and host_port in (None, record.host_port)
        ]
        for record in wanted:
            await asyncio.to_thread(self._end, record)
        return [_forward(record) for record in wanted]

    async def _until_open(self, record: _Record, log: Path) -> None:
        async for _ in attempts(self._clock, deadline_s=_UP_S, most_s=0.1):
            process.reap(record.pid)
            if process.start_time(record.pid) != record.started:
                break
            if not _is_free(record.host_port):
                return
        said = _read(log).strip().splitlines()
        if any("Address already in use" in line for line in said):
            raise _taken(record.host_port, "another program listens there")
        raise SshUnreachableError(
            f"port {record.guest_port} of {record.vm} could not be forwarded",
            hint=f"see what `tachikoma status {record.vm}` says",
            details="\n".join(said[-_LAST_LINES:]),
        )

    def _living(self) -> list[_Record]:
        """Read the records; those of processes that have ended are removed on the way."""
        found = []
        for file, record in self._recorded():
            process.reap(record.pid)
            if record.started and process.start_time(record.pid) == record.started:
                found.append(record)
            else:
                _remove(file)
        return found

    def _recorded(self) -> Iterator[tuple[Path, _Record]]:
        with files.translated(self._directory):
            listed = sorted(self._directory.glob("*.json")) if self._directory.is_dir() else []
        for file in listed:
            with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
                yield file, _Record(**json.loads(file.read_bytes()))

    def _write(self, record: _Record) -> None:
        text = json.dumps(asdict(record)).encode("ascii")
        files.write_atomically(self._file(record.host_port), text)

    def _end(self, record: _Record) -> None:
        process.end_process(record.pid, started=record.started)
        _remove(self._file(record.host_port))

    def _file(self, host_port: int) -> Path:
        return self._directory / f"{host_port}.json"


def _forward(record: _Record) -> Forward:
    return Forward(
        vm=VmName(record.vm),
        guest_port=record.guest_port,
        host_port=record.host_port,
        pid=record.pid,
        since=record.since,
    )


def _remove(file: Path) -> None:
    with contextlib.suppress(OSError):
        file.with_suffix(".log").unlink(missing_ok=True)
        file.unlink(missing_ok=True)


def _read(log: Path) -> str:
    with contextlib.suppress(OSError):
        return process.redacted(log.read_text(encoding="utf-8", errors="replace"))
    return ""


def _is_free(port: int) -> bool:
    """Tell whether nothing listens on that port of the loopback.

    Raises:
        HostError: this user may not listen there.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_LOOPBACK, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise HostError(
                f"port {port} of this host cannot be used: {os.strerror(error.errno or 0)}",
                hint="take another one: `tachikoma ports open GUEST:HOST`, with HOST above 1023",
            ) from error
    return True


def _taken(port: int, how: str) -> PortTakenError:
    return PortTakenError(
        f"port {port} of this host is taken: {how}",
        hint="take another one: `tachikoma ports open GUEST:HOST`",
    )
