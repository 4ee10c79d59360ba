"""The key pair that opens the VMs: ed25519, in OpenSSH's format, without a passphrase."""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
from pathlib import Path

from tachikoma.host import files
from tachikoma.model.errors import SshError

_ARMOUR = re.compile(
    r"-----BEGIN OPENSSH PRIVATE KEY-----\n(.*?)\n-----END OPENSSH PRIVATE KEY-----", re.DOTALL
)
_MAGIC = b"openssh-key-v1\0"
_COMMENT = "tachikoma"


def ensure_pair(private: Path, *, lock: Path) -> str:
    """Make the pair at ``private`` and ``private.pub`` if it is not there; give the public line.

    Two processes at once make one pair. A missing or wrong public half is made again.

    Raises:
        SshError: the private key is protected by a passphrase, or is no OpenSSH key.
        PermissionDeniedError, DiskFullError: the files cannot be read or written.
    """
    if (text := _read(private)) is None:
        try:
            with files.locked(lock):
                if (text := _read(private)) is None:
                    text = _make(private)
        except TimeoutError as error:
            raise SshError(
                f"another process holds {lock}", hint="end it, then run this again"
            ) from error
    line = f"{_public_half(text, private)} {_COMMENT}"
    _keep_private(private)
    public = private.with_name(f"{private.name}.pub")
    if (_read(public) or "").split()[:2] != line.split()[:2]:
        files.write_atomically(public, f"{line}\n".encode(), mode=0o644)
    return line


def decode_public(text: str) -> tuple[str, str]:
    """Give the cipher of an OpenSSH private key and its public half ``<type> <base64>`` (pure).

    The format keeps the public half in the clear (PROTOCOL.key of OpenSSH), so that no
    cryptography needs to be loaded for it.

    Raises:
        ValueError: it is no such key.
    """
    found = _ARMOUR.search(text.replace("\r\n", "\n"))
    if found is None:
        raise ValueError("no OpenSSH private key")
    try:
        blob = base64.b64decode(found[1].replace("\n", ""), validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error
    if not blob.startswith(_MAGIC):
        raise ValueError("no OpenSSH private key")
    cipher, rest = _string(blob[len(_MAGIC) :])
    _kdf, rest = _string(rest)
    _options, rest = _string(rest)
    public, rest = _string(rest[4:])
    private, _ = _string(rest)
    kind, _ = _string(public)
    if not private:
        raise ValueError("the private part is missing")
    return cipher.decode("ascii"), f"{kind.decode('ascii')} {base64.b64encode(public).decode()}"


def _string(data: bytes) -> tuple[bytes, bytes]:
    size = int.from_bytes(data[:4], "big")
    if len(data) < 4 + size or len(data) < 4:
        raise ValueError("cut short")
    return data[4 : 4 + size], data[4 + size :]


def _public_half(text: str, private: Path) -> str:
    try:
        cipher, public = decode_public(text)
    except ValueError as error:
        raise SshError(
            f"{private} is not an OpenSSH private key: {error}",
            hint=f"move it away (mv {private} {private}.old); a new pair is then made",
        ) from error
    if cipher != "none":
        raise SshError(
            f"{private} is protected by a passphrase, and tachikoma works without asking",
            hint=f"take the passphrase off (ssh-keygen -p -f {private}) or move the key away",
        )
    return public


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise files.from_os_error(error, path) from error


def _make(private: Path) -> str:
    # Loaded here alone: it takes as long as all the rest of a command.
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ed25519

    text = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    with files.translated(private.parent):
        private.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    files.write_atomically(private, text)
    return text.decode("ascii")


def _keep_private(private: Path) -> None:
    """Take access away from others: ssh refuses a key that they could read."""
    with files.translated(private):
        seen = private.stat()
        if seen.st_uid == os.geteuid() and stat.S_IMODE(seen.st_mode) & 0o077:
            private.chmod(0o600)
