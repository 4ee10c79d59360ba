"""An SSH server in a thread, by paramiko's own server side; it runs commands for real."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import paramiko
    from paramiko.common import AUTH_FAILED, AUTH_SUCCESSFUL, OPEN_SUCCEEDED


@dataclass
class SshServer:
    """Where it listens, its public host key, and the commands that it was sent.

    ``drops`` lets it end the connection instead of running a command.
    """

    port: int
    host_key: str
    drops: bool = False
    lines: list[bytes] = field(default_factory=list)


class _Rules(paramiko.ServerInterface):
    def __init__(self, server: SshServer, allowed: str) -> None:
        self._server = server
        self._allowed = allowed

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        known = key.get_base64() == self._allowed
        return AUTH_SUCCESSFUL if known else AUTH_FAILED

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        self._server.lines.append(command)
        if self._server.drops:
            channel.get_transport().close()
            return True
        threading.Thread(target=_run, args=(channel, command), daemon=True).start()
        return True


@contextlib.contextmanager
def serving(allowed_key: str) -> Iterator[SshServer]:
    """Serve on the loopback, letting only ``allowed_key`` (a public key line) in."""
    host_key = paramiko.ECDSAKey.generate()
    listener = socket.create_server(("127.0.0.1", 0))
    server = SshServer(listener.getsockname()[1], f"{host_key.get_name()} {host_key.get_base64()}")
    transports: list[paramiko.Transport] = []
    allowed = allowed_key.split()[1]

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                transport = paramiko.Transport(listener.accept()[0])
                transports.append(transport)
                transport.add_server_key(host_key)
                transport.set_log_channel("tachikoma.ssh.wire")
                with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
                    transport.start_server(event=threading.Event(), server=_Rules(server, allowed))

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for transport in transports:
            transport.close()
        thread.join(5)


def _run(channel: paramiko.Channel, command: bytes) -> None:
    with subprocess.Popen(
        ["sh", "-c", command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "HOME": os.environ["HOME"]},
        start_new_session=True,
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        pumps = [
            threading.Thread(target=_pump, args=(process.stdout.fileno(), channel.sendall)),
            threading.Thread(target=_pump, args=(process.stderr.fileno(), channel.sendall_stderr)),
            threading.Thread(target=_feed, args=(channel, process.stdin), daemon=True),
        ]
        for pump in pumps:
            pump.start()
        for pump in pumps[:2]:
            pump.join()
        with contextlib.suppress(OSError, EOFError):
            channel.send_exit_status(process.wait())
            channel.close()
        pumps[2].join(5)


def _pump(source: int, send: object) -> None:
    assert callable(send)
    with contextlib.suppress(OSError):
        while data := os.read(source, 32768):
            send(data)


def _feed(channel: paramiko.Channel, target: object) -> None:
    with contextlib.suppress(OSError, ValueError):
        while data := channel.recv(32768):
            target.write(data)  # type: ignore[attr-defined]  # a pipe
            target.flush()  # type: ignore[attr-defined]  # a pipe
    with contextlib.suppress(OSError, ValueError):
        target.close()  # type: ignore[attr-defined]  # a pipe
