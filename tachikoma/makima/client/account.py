"""Which server this user works with, and the key for it: variables, else a file of his own."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from tachikoma.host.files import from_os_error, write_atomically
from tachikoma.host.paths import private_dir
from tachikoma.model.errors import UsageError
from tachikoma.model.errors_fleet import NotLoggedInError

URL_VARIABLE, KEY_VARIABLE = "MAKIMA_API_URL", "MAKIMA_API_KEY"
DEFAULT_URL = "http://127.0.0.1:8080"
_SIGN_IN = (
    "`tachikoma makima up` starts a server here; `tachikoma makima login URL` names another one"
)


@dataclass(frozen=True, slots=True)
class Account:
    """The server at ``url``, without a slash at its end, and a key for it."""

    url: str
    key: str = field(repr=False)

    @property
    def is_here(self) -> bool:
        """Whether the server is on this machine, so that paths mean the same to both."""
        host = urlsplit(self.url).hostname or ""
        try:
            return host == "localhost" or ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False


def account_file(config: Path) -> Path:
    """Say where the account is kept, below tachikoma's directory of settings."""
    return config / "makima-account.json"


def account(file: Path, environ: Mapping[str, str], *, url: str | None = None) -> Account:
    """Give the account that holds: ``url`` beats the variables, and those beat ``file``.

    The key of a file is for the file's server only.

    Raises:
        NotLoggedInError: there is none, or the file is damaged.
    """
    kept = _kept(file)
    wanted = _without_slash(url or environ.get(URL_VARIABLE, ""))
    if wanted and (key := environ.get(KEY_VARIABLE, "")):
        return Account(wanted, key)
    if kept is not None and wanted in {"", kept.url}:
        return kept
    if kept is not None or wanted:
        raise NotLoggedInError(
            f"there is no key for the makima server {wanted}",
            hint=f"set {KEY_VARIABLE} beside {URL_VARIABLE}, or `tachikoma makima login {wanted}`",
        )
    raise NotLoggedInError("no makima server is set up for you", hint=_SIGN_IN)


def keep(file: Path, made: Account) -> None:
    """Keep the account, readable by this user only.

    Raises:
        HostError: it cannot be written.
    """
    private_dir(file.parent)
    told = json.dumps({"version": 1, "url": made.url, "key": made.key})
    write_atomically(file, f"{told}\n".encode())


def server_url(text: str) -> str:
    """Read the URL of a server as people give it.

    Raises:
        UsageError: it is none.
    """
    url = text if "://" in text else f"http://{text}"
    url = url.replace("ws://", "http://", 1).replace("wss://", "https://", 1)
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username is not None:
        raise UsageError(
            f"{text!r} is no URL of a makima server",
            hint=f"it is something like https://makima.example or {DEFAULT_URL}",
        )
    return _without_slash(url.removesuffix("/ws/daemon"))


def _without_slash(url: str) -> str:
    return url.rstrip("/")


def _kept(file: Path) -> Account | None:
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise from_os_error(error, file) from error
    try:
        found = json.loads(text)
        return Account(str(found["url"]), str(found["key"]))
    except (ValueError, TypeError, KeyError) as error:
        raise NotLoggedInError(
            f"{file} is damaged", hint="remove it, then `tachikoma makima login`"
        ) from error
