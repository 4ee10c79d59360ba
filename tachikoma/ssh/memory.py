"""A shell into VMs that exist only in memory: somebody else says what a command answers."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tachikoma.model.errors import SshUnreachableError
from tachikoma.model.names import VmName
from tachikoma.model.vm import Endpoint
from tachikoma.ssh import known_hosts
from tachikoma.ssh.port import Login


@dataclass(frozen=True, slots=True)
class Asked:
    """A command as it arrived in the VM."""

    vm: VmName
    user: str
    argv: tuple[str, ...]
    directory: str
    stdin: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What it says and how it ends."""

    status: int = 0
    stdout: bytes = b""
    stderr: bytes = b""


@dataclass(slots=True)
class MemoryShell:
    """Implements the port ``Shell`` without keys, files or connections.

    ``respond`` plays every VM. ``listening`` holds where an SSH server answers; ``runs`` keeps
    every command; ``pins`` what ``pin`` was told.
    """

    respond: Callable[[Asked], Answer] = lambda _asked: Answer()
    listening: set[Endpoint] = field(default_factory=set)
    runs: list[Asked] = field(default_factory=list)
    pins: dict[VmName, list[str]] = field(default_factory=dict)

    def ensure_key(self) -> str:
        """Give always the same key."""
        return f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{'A' * 43} tachikoma"

    def pin(self, vm: VmName, host_keys: Sequence[str]) -> Path:
        """Remember what is known of ``vm``."""
        self.pins[vm] = known_hosts.lines_for(vm, host_keys)
        return _known_hosts(vm)

    def forget(self, vm: VmName) -> None:
        """Forget what is known of ``vm``. Does nothing if absent."""
        self.pins.pop(vm, None)

    def login(self, vm: VmName, endpoint: Endpoint, user: str) -> Login:
        """Put together how to get into ``vm``."""
        return Login(vm, endpoint, user, Path("/memory/key"), _known_hosts(vm))

    async def answers(self, endpoint: Endpoint, *, deadline_s: float) -> bool:
        """Tell whether the endpoint is listening."""
        del deadline_s
        return endpoint in self.listening

    def attach_argv(
        self, login: Login, *, command: Sequence[str] = (), directory: str = "", tty: bool = True
    ) -> list[str]:
        """Give an argv that says what is wanted."""
        return ["ssh", "-t" if tty else "-T", login.vm, directory, *command]

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
        """Ask ``respond``, after reading ``stdin`` to its end.

        Raises:
            SshUnreachableError: the endpoint is not listening, or nothing is pinned for the VM.
        """
        if login.endpoint not in self.listening:
            raise SshUnreachableError(f"nothing answers at {login.endpoint}", hint="start it")
        if login.vm not in self.pins:
            raise SshUnreachableError(f"no host key of {login.vm} is known", hint="pin it")
        sent = b"" if stdin is None else _read_all(stdin)
        asked = Asked(login.vm, login.user, tuple(command), directory, sent)
        self.runs.append(asked)
        answer = self.respond(asked)
        for data, take in ((answer.stdout, on_stdout), (answer.stderr, on_stderr)):
            if data:
                take(data)
        return answer.status


def _known_hosts(vm: VmName) -> Path:
    return Path("/memory/known_hosts") / vm


def _read_all(descriptor: int) -> bytes:
    data = b""
    while chunk := os.read(descriptor, 65536):
        data += chunk
    return data
