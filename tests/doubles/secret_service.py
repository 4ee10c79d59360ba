"""A Secret Service of its own: gnome-keyring on a D-Bus session that nobody else knows."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import secretstorage
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import DBusConnection, Proxy, open_dbus_connection
from secretstorage.util import BUS_NAME

PROGRAMS = ("dbus-run-session", "gnome-keyring-daemon")
_DEADLINE_S = 30.0
_SESSION = (
    'echo "$DBUS_SESSION_BUS_ADDRESS"; '
    "exec gnome-keyring-daemon --foreground --unlock --components=secrets"
)


@dataclass(frozen=True, slots=True)
class SecretService:
    """One that runs: ``environ`` leads to it."""

    environ: Mapping[str, str]

    def put(self, service: str, account: str, text: bytes) -> None:
        """Keep ``text`` there, as a program of its user would."""
        attributes = {"service": service, "username": account}
        with self._collection() as collection:
            collection.create_item(service, attributes, text, replace=True)

    def lock(self) -> None:
        """Lock it, as a desktop does when its user asks."""
        with self._collection() as collection:
            collection.lock()

    def is_there(self) -> bool:
        """Tell whether it is on its bus; asking for more would have the bus start another."""
        with contextlib.closing(self._connection()) as connection:
            return bool(Proxy(message_bus, connection).NameHasOwner(BUS_NAME)[0])

    @contextlib.contextmanager
    def _collection(self) -> Iterator[secretstorage.Collection]:
        with contextlib.closing(self._connection()) as connection:
            yield secretstorage.get_collection_by_alias(connection, "default")

    def _connection(self) -> DBusConnection:
        return open_dbus_connection(self.environ["DBUS_SESSION_BUS_ADDRESS"])


@contextlib.contextmanager
def secret_service(place: Path) -> Iterator[SecretService]:
    """Run one whose files are in ``place``; it is unlocked and empty."""
    runtime = place / "run"
    runtime.mkdir(parents=True, mode=0o700)
    environ = {
        "HOME": str(place),
        "XDG_DATA_HOME": str(place / "data"),
        "XDG_RUNTIME_DIR": str(runtime),
        "PATH": os.environ["PATH"],
    }
    with (
        (place / "log").open("wb") as log,
        subprocess.Popen(
            ["dbus-run-session", "--", "sh", "-c", _SESSION],
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(b"the password of the keyring")
            process.stdin.close()
            address = process.stdout.readline().decode().strip()
            made = SecretService(environ | {"DBUS_SESSION_BUS_ADDRESS": address})
            end = time.monotonic() + _DEADLINE_S
            while not made.is_there():
                assert time.monotonic() < end, (place / "log").read_text()
                time.sleep(0.02)
            yield made
        finally:
            os.killpg(process.pid, signal.SIGKILL)
