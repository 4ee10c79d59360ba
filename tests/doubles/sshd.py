"""A private OpenSSH server on the loopback, with keys and configuration of its own."""

from __future__ import annotations

import contextlib
import getpass
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SSHD = Path("/usr/sbin/sshd")
_PRIVILEGE_SEPARATION = Path("/run/sshd")


@dataclass(frozen=True, slots=True)
class Sshd:
    """A running server: where, as whom to log in, and the public host key."""

    port: int
    user: str
    host_key: str


def why_not() -> str:
    """Say why no such server can run here; "" if it can."""
    if not SSHD.exists():
        return f"there is no {SSHD} (package openssh-server)"
    if os.geteuid() == 0 and not _PRIVILEGE_SEPARATION.is_dir():
        try:
            _PRIVILEGE_SEPARATION.mkdir(mode=0o755)
        except OSError:
            return f"sshd as root wants {_PRIVILEGE_SEPARATION}"
    return ""


def new_key(path: Path) -> str:
    """Make a key pair without a passphrase and give the public line."""
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)]
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, timeout=20)
    return path.with_name(f"{path.name}.pub").read_text(encoding="ascii").strip()


@contextlib.contextmanager
def serving(directory: Path, authorized_key: str) -> Iterator[Sshd]:
    """Run a server whose files are in ``directory`` and which lets ``authorized_key`` in."""
    host_key = new_key(directory / "host_key")
    authorized = directory / "authorized_keys"
    authorized.write_text(authorized_key + "\n", encoding="ascii")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    config = directory / "sshd_config"
    config.write_text(
        f"ListenAddress 127.0.0.1:{port}\n"
        f'HostKey "{directory}/host_key"\n'
        f'AuthorizedKeysFile "{authorized}"\n'
        "PidFile none\nStrictModes no\nUsePAM no\nPermitRootLogin yes\n"
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\n",
        encoding="ascii",
    )
    log = (directory / "sshd.log").open("wb")
    server = subprocess.Popen(
        [str(SSHD), "-D", "-e", "-f", str(config)],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    try:
        _await_banner(port, server)
        yield Sshd(port=port, user=getpass.getuser(), host_key=host_key)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=10)
        log.close()


def _await_banner(port: int, server: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        assert server.poll() is None, "sshd ended at once"
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", port), timeout=1) as probe,
        ):
            if probe.recv(4) == b"SSH-":
                return
    raise AssertionError("sshd does not answer")
