"""SSH into VMs: ``ssh`` for a person at a terminal, paramiko for everything else."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

from tachikoma.host.paths import Paths
from tachikoma.model.names import VmName
from tachikoma.model.vm import Endpoint
from tachikoma.ssh import conversation, keys, known_hosts, remote
from tachikoma.ssh.port import Login

_LONGEST_GREETING = 8192


class OpenSsh:
    """Implements the port ``Shell``. Makes nothing before it is needed."""

    def __init__(self, *, paths: Paths) -> None:
        self._paths = paths

    def ensure_key(self) -> str:
        """Make the user's key pair if it is not there; give the public key line.

        Raises:
            SshError: the private key is protected by a passphrase, or is no OpenSSH key.
        """
        return keys.ensure_pair(self._paths.ssh_key, lock=self._paths.config / "ssh-key.lock")

    def pin(self, vm: VmName, host_keys: Sequence[str]) -> Path:
        """Write what is known of ``vm``: lines ``<type> <base64>``. Gives the known_hosts file.

        Raises:
            SshError: one of them is no public key, or there is none at all.
        """
        return known_hosts.pin(self._paths.known_hosts, vm, host_keys)

    def forget(self, vm: VmName) -> None:
        """Remove the known_hosts file of ``vm``. Does nothing if absent."""
        known_hosts.forget(self._paths.known_hosts, vm)

    def login(self, vm: VmName, endpoint: Endpoint, user: str) -> Login:
        """Put together how to get into ``vm``."""
        return Login(vm, endpoint, user, self._paths.ssh_key, self._paths.known_hosts / vm)

    async def answers(self, endpoint: Endpoint, *, deadline_s: float) -> bool:
        """Tell whether an SSH server sends its banner at ``endpoint`` within ``deadline_s``."""
        try:
            async with asyncio.timeout(deadline_s):
                return await _greets(endpoint)
        except (OSError, ValueError):  # TimeoutError is an OSError; ValueError: too long a line
            return False

    def attach_argv(
        self, login: Login, *, command: Sequence[str] = (), directory: str = "", tty: bool = True
    ) -> list[str]:
        """Give the argv that connects this terminal to the VM.

        Raises:
            SshError: the command is longer than a command line may be.
        """
        return attach_argv(login, command=command, directory=directory, tty=tty)

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

        The outputs are handed over in the event loop, and no faster than they are taken; an
        error of the one who takes them ends the command and is raised here. Cancelling ends the
        command with all that it started: the connection is closed, and the guest notices.

        Raises:
            SshUnreachableError: no connection, an unexpected host key, or the connection ended.
            SshError: the VM does not take our key, or the command is too long for a command line.
        """
        line = remote.without_terminal(command, directory)
        outputs = conversation.Outputs(stdout=on_stdout, stderr=on_stderr)
        return await conversation.hold(login, line, stdin=stdin, outputs=outputs, speak=_speak)


def attach_argv(login: Login, *, command: Sequence[str], directory: str, tty: bool) -> list[str]:
    """Give the argv of ``ssh`` into a VM (pure). The user's own ssh configuration has no say.

    Raises:
        SshError: the command is longer than a command line may be.
    """
    if tty:
        line = remote.on_terminal(command, directory)
    else:
        line = remote.without_terminal(command or ("bash", "-l"), directory)
    options = [part for option in options_for(login) for part in ("-o", option)]
    where = ["-p", str(login.endpoint.port), "-l", login.user]
    return [
        *["ssh", "-F", "/dev/null", "-t" if tty else "-T"],
        *options,
        *where,
        *["--", login.endpoint.host, line],
    ]


def options_for(login: Login) -> list[str]:
    """Give the options with which every ``ssh`` of ours goes to a VM."""
    return [
        f"HostKeyAlias={login.vm}",
        f"UserKnownHostsFile={_option_path(login.known_hosts)}",
        "GlobalKnownHostsFile=/dev/null",
        "StrictHostKeyChecking=yes",
        "UpdateHostKeys=no",
        "CheckHostIP=no",
        f"IdentityFile={_option_path(login.key)}",
        "IdentitiesOnly=yes",
        "IdentityAgent=none",
        "AddKeysToAgent=no",
        "PreferredAuthentications=publickey",
        "PasswordAuthentication=no",
        "KbdInteractiveAuthentication=no",
        "BatchMode=yes",
        "ForwardAgent=no",
        "ForwardX11=no",
        "ClearAllForwardings=yes",
        "PermitLocalCommand=no",
        "ControlMaster=no",
        "ControlPath=none",
        "ConnectTimeout=15",
        "ServerAliveInterval=15",
        "ServerAliveCountMax=4",
        "LogLevel=ERROR",
    ]


def _option_path(path: Path) -> str:
    """Give ``path`` so that ssh takes it as it is: no list, no %-token."""
    plain = str(path).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{plain}"'


async def _greets(endpoint: Endpoint) -> bool:
    reader, writer = await asyncio.open_connection(
        endpoint.host, endpoint.port, limit=_LONGEST_GREETING
    )
    try:
        # A server may say other lines first (RFC 4253, 4.2); an end or something else is a no.
        for _ in range(_LONGEST_GREETING):
            line = await reader.readline()
            if line.startswith((b"SSH-2.0-", b"SSH-1.99-")):
                return True
            if not line.endswith(b"\n"):
                return False
        return False
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _speak(talk: conversation.Talk, outputs: conversation.Outputs) -> int:
    """Load paramiko, in the thread that needs it, and let it talk."""
    from tachikoma.ssh import client

    return client.speak(talk, outputs)
