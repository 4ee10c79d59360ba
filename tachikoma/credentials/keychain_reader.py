"""Reads items of the keychain for ``os_keychain``: ``python -P -m tachikoma...keychain_reader``.

On standard input comes ``{"services": [...], "account": "..."}``; on standard output goes
``{"items": {service: text}}``, or ``{"why": "...", "hint": "..."}``. The one pipe that the items go
into is held by who started us.

The library's own choice of a backend is not used: it takes what plug-ins, variables and a file
of settings name, a plain file among them. Here it is the operating system's or none.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tachikoma.model.errors import KeychainError

if TYPE_CHECKING:  # imported where it is used: each takes long, and works on its own system only
    from keyring.backend import KeyringBackend

_LOCKED = "is locked"
_UNLOCK = "unlock it, as by logging in to the desktop, or set a credential otherwise"
_DENIED = "does not let us read the item"
_SEE = "see whether the system's own program can show it"
_ALLOW = "run `tachikoma credentials` and choose Always Allow"


def main() -> int:
    """Answer one question."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    wanted = json.loads(sys.stdin.read())
    try:
        found = look_up(backend(sys.platform), wanted["services"], wanted["account"])
        answer: dict[str, object] = {"items": found}
    except KeychainError as error:
        answer = {"why": error.message, "hint": error.hint}
    sys.stdout.write(json.dumps(answer))
    return 0


def look_up(keyring: KeyringBackend, services: Sequence[str], account: str) -> dict[str, str]:
    """Give the items that are there, by service.

    Raises:
        KeychainError: the keychain is locked, or cannot be read.
    """
    from keyring.errors import KeyringError, KeyringLocked

    try:
        found = {service: keyring.get_password(service, account) for service in services}
    except KeyringLocked as error:
        denied = sys.platform == "darwin"
        raise KeychainError(
            _DENIED if denied else _LOCKED, hint=_ALLOW if denied else _UNLOCK
        ) from error
    except UnicodeDecodeError:
        raise KeychainError("holds an item that is no text", hint=_SEE) from None
    except KeyringError as error:
        raise KeychainError(f"cannot be read: {error}", hint=_SEE) from error
    return {service: text for service, text in found.items() if text is not None}


def backend(platform: str) -> KeyringBackend:
    """Give what reads the keychain of ``platform``.

    Raises:
        KeychainError: there is none.
    """
    if platform == "darwin":
        from keyring.backends.macOS import Keyring

        return Keyring()  # type: ignore[no-untyped-call]  # the library's own base has no types
    return _secret_service()


def _secret_service() -> KeyringBackend:
    """Give the Secret Service, for reading only.

    The library would have the user asked to unlock a locked collection, and make one where there
    is none. A program in the background must do neither.
    """
    import secretstorage
    from keyring.backends.SecretService import Keyring
    from keyring.errors import KeyringError, KeyringLocked
    from secretstorage.exceptions import (
        ItemNotFoundException,
        SecretServiceNotAvailableException,
        SecretStorageException,
    )

    class ReadOnly(Keyring):
        def get_preferred_collection(self) -> secretstorage.Collection:
            try:
                connection = secretstorage.dbus_init()
            except SecretServiceNotAvailableException:
                raise KeychainError("its session (D-Bus) is over") from None
            try:
                if not secretstorage.check_service_availability(connection):
                    raise KeychainError("no program offers it in this session")
                collection = secretstorage.get_collection_by_alias(connection, "default")
                locked = collection.is_locked()
            except ItemNotFoundException:
                raise KeychainError("it has no default collection") from None
            except (SecretStorageException, OSError) as error:
                raise KeyringError(f"{type(error).__name__}: {error}") from error
            if locked:
                raise KeyringLocked
            return collection

        def unlock(self, item: secretstorage.Item) -> None:
            if item.is_locked():
                raise KeyringLocked

    return ReadOnly()  # type: ignore[no-untyped-call]  # the library's own base has no types


if __name__ == "__main__":
    sys.exit(main())
