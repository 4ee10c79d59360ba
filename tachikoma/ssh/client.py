"""Running one command over SSH with paramiko: synchronous, in the thread of a ``Talk``.

Loading paramiko takes about as long as starting Python, so only a command that needs it does.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import threading
import warnings
from collections.abc import Callable, Iterator

from tachikoma.model.errors import SshError, SshUnreachableError
from tachikoma.ssh import known_hosts
from tachikoma.ssh.conversation import Outputs, Talk
from tachikoma.ssh.port import Login

with warnings.catch_warnings():
    # Its older versions name ciphers that cryptography is about to drop; we use none of them.
    warnings.simplefilter("ignore")
    import paramiko

_HANDSHAKE_S = 30.0
_JOIN_S = 2.0
_ALIVE_S = 15
_CHUNK = 32 * 1024
_NO_STATUS = -1
_RSA = ("rsa-sha2-512", "rsa-sha2-256")

_LOG = "tachikoma.ssh.wire"
"""Paramiko logs what it then raises, and nobody wants to read it twice."""
logging.getLogger(_LOG).addHandler(logging.NullHandler())
logging.getLogger(_LOG).propagate = False


def speak(talk: Talk, outputs: Outputs) -> int:
    """Run the command of ``talk`` and give its exit status, when both outputs have ended.

    Raises:
        SshUnreachableError: not the VM that we know, or the connection ended first.
        SshError: the VM does not take our key, or refused to start the command.
    """
    login = talk.login
    with _transport(talk) as transport:
        try:
            channel = transport.open_session(timeout=_HANDSHAKE_S)
            channel.exec_command(talk.line)
        except (paramiko.SSHException, EOFError, OSError) as error:
            if not transport.is_active():
                raise _cut_off(login) from error
            raise SshError(
                f"{login.vm} refused to start a command: {error}",
                hint=f"see what `tachikoma status {login.vm}` says",
            ) from error
        status = _follow(talk, channel, outputs)
        if status == _NO_STATUS:
            raise _cut_off(login)
        return status


def _follow(talk: Talk, channel: paramiko.Channel, outputs: Outputs) -> int:
    errors = _beside(_receive, talk, channel.recv_stderr, outputs.stderr)
    sender = _beside(_send, talk, channel)
    try:
        _receive(talk, channel.recv, outputs.stdout)
        errors.join()
        return channel.recv_exit_status()
    finally:
        talk.end_input()
        sender.join(_JOIN_S)


@contextlib.contextmanager
def _transport(talk: Talk) -> Iterator[paramiko.Transport]:
    """Hold an authenticated connection to exactly the VM that is meant."""
    login = talk.login
    known = known_hosts.pinned(login.known_hosts, login.vm)
    if not known:
        raise SshUnreachableError(
            f"no host key of {login.vm} is known", hint="`tachikoma spawn` gets it from the VM"
        )
    transport = paramiko.Transport(talk.connection)
    try:
        transport.set_log_channel(_LOG)
        transport.set_keepalive(_ALIVE_S)
        _meet(transport, login, known)
        _authenticate(transport, login)
        yield transport
    finally:
        transport.close()


def _meet(transport: paramiko.Transport, login: Login, known: dict[str, set[str]]) -> None:
    accepted = [name for kind in known for name in (_RSA if kind == "ssh-rsa" else (kind,))]
    options = transport.get_security_options()
    usable = [name for name in options.key_types if name in accepted]
    try:
        if usable:
            options.key_types = usable
        transport.start_client(timeout=_HANDSHAKE_S)
    except (paramiko.SSHException, EOFError, OSError) as error:
        if isinstance(error, paramiko.ssh_exception.IncompatiblePeer):
            raise _stranger(login) from error
        raise SshUnreachableError(
            f"{login.vm} at {login.endpoint} does not speak SSH as it should: "
            f"{str(error) or 'the connection ended'}",
            hint="it may still be booting; run it again in a moment",
        ) from error
    key = transport.get_remote_server_key()
    if key.get_base64() not in known.get(key.get_name(), set()):
        raise _stranger(login)


def _authenticate(transport: paramiko.Transport, login: Login) -> None:
    try:
        key = paramiko.Ed25519Key.from_private_key_file(str(login.key))
    except (paramiko.SSHException, OSError, ValueError) as error:
        raise SshError(
            f"the private key {login.key} cannot be used: {error}",
            hint=f"move it away (mv {login.key} {login.key}.old); a new pair is then made",
        ) from error
    try:
        transport.auth_publickey(login.user, key)
    except (paramiko.SSHException, EOFError, OSError) as error:
        if not transport.is_active():
            raise SshUnreachableError(
                f"{login.vm} ended the connection while we logged in", hint="run it again"
            ) from error
        raise SshError(
            f"{login.vm} does not let {login.user} in with the key {login.key}",
            hint="was the key renewed? `tachikoma spawn` brings it into the VM again",
        ) from error


def _cut_off(login: Login) -> SshUnreachableError:
    return SshUnreachableError(
        f"the connection to {login.vm} ended before the command did",
        hint=f"see what `tachikoma status {login.vm}` says",
    )


def _stranger(login: Login) -> SshUnreachableError:
    return SshUnreachableError(
        f"what answers at {login.endpoint} is not {login.vm}: it shows an unexpected host key",
        hint="something else may have taken the port; `tachikoma spawn` asks the VM for its keys",
    )


def _receive(talk: Talk, read: Callable[[int], bytes], take: Callable[[bytes], None]) -> None:
    while data := read(_CHUNK):
        talk.hand_over(take, data)


def _send(talk: Talk, channel: paramiko.Channel) -> None:
    """Forward standard input to its end, or until the command has ended."""
    with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
        if talk.stdin is not None:
            _forward(talk.stdin, talk.over, channel)
        channel.shutdown_write()


def _forward(source: int, over: int, channel: paramiko.Channel) -> None:
    # Not epoll, which refuses plain files.
    with selectors.PollSelector() as ready:
        ready.register(source, selectors.EVENT_READ)
        ready.register(over, selectors.EVENT_READ)
        while over not in {key.fd for key, _ in ready.select()}:
            data = os.read(source, _CHUNK)
            if not data:
                return
            channel.sendall(data)


def _beside(work: Callable[..., None], *arguments: object) -> threading.Thread:
    thread = threading.Thread(target=work, args=arguments, name="ssh stream", daemon=True)
    thread.start()
    return thread
