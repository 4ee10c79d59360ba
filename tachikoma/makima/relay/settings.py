"""What the relay is told: by options and variables, parsed once (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tachikoma.makima.server_url import DEFAULT_PATH, EXPECTED, server_url, without_user
from tachikoma.makima.settings import ServerSettings
from tachikoma.model.errors_fleet import MakimaConfigError

BIND = "127.0.0.1"
PORT = 8787
PATH = DEFAULT_PATH
HEARTBEAT_S = 30
FIRST_PAUSE_S = 1
LONGEST_PAUSE_S = 60.0
MOST_ATTEMPTS = 20

URL = "MAKIMA_SERVER_URL"
KEY = "MAKIMA_API_KEY"
NAME = "MAKIMA_AGENT_NAME"
DAEMON_KEYS = "MAKIMA_RELAY_DAEMON_KEYS"
_INIT = "`tachikoma makima relay init` asks for all of it"
_LONGEST_NAME = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class RelaySettings:
    """Everything that the relay is told. ``name`` is "" for the default, which has the relay's id
    in it.
    """

    bind: str = BIND
    port: int = PORT
    database: Path
    server: ServerSettings
    name: str = ""
    daemon_keys: tuple[str, ...] = field(repr=False)


def from_environment(
    environ: Mapping[str, str], *, bind: str, port: int, database: Path
) -> RelaySettings:
    """Join what the environment and the options tell.

    Raises:
        MakimaConfigError: something is missing or cannot be used.
    """
    key = environ.get(KEY, "").strip()
    if not key:
        raise MakimaConfigError(
            f"the relay has no API key for its server: {KEY} is not set",
            hint=f"set it to a key of the server; {_INIT}",
        )
    return RelaySettings(
        bind=bind,
        port=port,
        database=database,
        server=ServerSettings(
            url=checked_url(environ.get(URL, "").strip()),
            api_key=checked_key(key, KEY),
            heartbeat_interval_secs=HEARTBEAT_S,
            reconnect_interval_secs=FIRST_PAUSE_S,
            max_reconnect_attempts=MOST_ATTEMPTS,
        ),
        name=checked_name(environ.get(NAME, "").strip()),
        daemon_keys=_daemon_keys(environ.get(DAEMON_KEYS, ""), key),
    )


def checked_url(given: str) -> str:
    """Give the WebSocket URL for daemons of the server at ``given``.

    Raises:
        MakimaConfigError: it is none.
    """
    if not given:
        raise MakimaConfigError(
            f"the relay does not know its server: {URL} is not set",
            hint=f"set it to something like wss://makima.example.com; {_INIT}",
        )
    try:
        return server_url(given)
    except ValueError as error:
        raise MakimaConfigError(
            f"{URL}: {without_user(given)} cannot be used: {error}", hint=f"it is to be {EXPECTED}"
        ) from error


def checked_key(key: str, of: str) -> str:
    """Give an API key that can be one.

    Raises:
        MakimaConfigError: it cannot.
    """
    if not key.isascii() or not key.isprintable() or " " in key or '"' in key:
        raise MakimaConfigError(
            f"{of} cannot be an API key: a key has no spaces, quotes or unusual characters",
            hint="copy it again from where it was made",
        )
    return key


def checked_name(name: str) -> str:
    """Give a name that can be shown.

    Raises:
        MakimaConfigError: it cannot.
    """
    if len(name) > _LONGEST_NAME or not name.isprintable() or '"' in name:
        raise MakimaConfigError(
            f"{NAME} cannot be the relay's name: it has more than {_LONGEST_NAME} characters, or"
            " some that cannot be shown",
            hint="choose a short one, such as edge-berlin",
        )
    return name


def _daemon_keys(given: str, upstream: str) -> tuple[str, ...]:
    keys = tuple(key for each in given.split(",") if (key := each.strip()))
    return tuple(checked_key(key, DAEMON_KEYS) for key in keys) or (upstream,)
