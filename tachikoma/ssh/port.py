"""What the heart and the doors need from SSH."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tachikoma.model.errors import UnsupportedError
from tachikoma.model.names import VmName
from tachikoma.model.vm import Endpoint


@dataclass(frozen=True, slots=True)
class Login:
    """How to get into one VM: where, as whom, with which key, and which host key to expect.

    ``known_hosts`` is a file in which the VM's keys stand under its name (HostKeyAlias).
    """

    vm: VmName
    endpoint: Endpoint
    user: str
    key: Path
    known_hosts: Path


class Shell(Protocol):
    """SSH into VMs."""

    def ensure_key(self) -> str:
        """Make the user's key pair if it is not there; give the public key line.

        Raises:
            SshError: a private key is there without its public half, or cannot be read.
        """
        ...

    def pin(self, vm: VmName, host_keys: Sequence[str]) -> Path:
        """Write what is known of ``vm``: lines ``<type> <base64>``. Gives the known_hosts file."""
        ...

    def forget(self, vm: VmName) -> None:
        """Remove the known_hosts file of ``vm``. Does nothing if absent."""
        ...

    def login(self, vm: VmName, endpoint: Endpoint, user: str) -> Login:
        """Put together how to get into ``vm``."""
        ...

    async def answers(self, endpoint: Endpoint, *, deadline_s: float) -> bool:
        """Tell whether an SSH server sends its banner at ``endpoint`` within ``deadline_s``."""
        ...

    def attach_argv(
        self, login: Login, *, command: Sequence[str] = (), directory: str = "", tty: bool = True
    ) -> list[str]:
        """Give the argv that connects this terminal to the VM (``ssh``, OpenSSH).

        ``command`` runs through a login shell in ``directory`` with its arguments exactly as
        they are; empty means an interactive login shell there.
        """
        ...

    async def run(
        self,
        login: Login,
        command: Sequence[str],
        *,
        directory: str,
        stdin: int | None,
        on_stdout: Callable[[bytes], None],
        on_stderr: Callable[[bytes], None],
    ) -> int:
        """Run ``command`` without a terminal and give its exit status (128+N for signal N).

        Both outputs are streamed. ``stdin`` is a descriptor to forward until its end, None for
        an empty input. Cancelling ends the command in the guest.

        Raises:
            SshUnreachableError: no connection, or an unexpected host key.
        """
        ...


@dataclass(frozen=True, slots=True)
class Forward:
    """A port of a VM that is reached at ``127.0.0.1:host_port`` of this host.

    ``since`` is seconds since the epoch, ``pid`` the process that forwards.
    """

    vm: VmName
    guest_port: int
    host_port: int
    pid: int
    since: float


class Forwards(Protocol):
    """Ports of VMs on this host's loopback. Each lives until it is closed or its VM ends."""

    async def open(self, login: Login, *, guest_port: int, host_port: int) -> Forward:
        """Forward; the one that does just that already is given as it is.

        Raises:
            PortTakenError: something else listens on that port of this host.
            SshUnreachableError: the VM does not answer.
        """
        ...

    def all(self) -> list[Forward]:
        """List what is forwarded now, by VM and port."""
        ...

    async def close(self, vm: VmName, *, host_port: int | None = None) -> list[Forward]:
        """End those of ``vm``, or the one at ``host_port``; gives what there was."""
        ...


class NoForwards:
    """Forwards nothing: for engines without a network, and for tests."""

    async def open(self, login: Login, *, guest_port: int, host_port: int) -> Forward:
        """Refuse.

        Raises:
            UnsupportedError: always.
        """
        del login, guest_port, host_port
        raise UnsupportedError("this engine forwards no ports", hint="use a real one")

    def all(self) -> list[Forward]:
        """Give nothing."""
        return []

    async def close(self, vm: VmName, *, host_port: int | None = None) -> list[Forward]:
        """Do nothing."""
        del vm, host_port
        return []
