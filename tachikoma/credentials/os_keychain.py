"""The keychain of this host: macOS's own, or the Secret Service of a Linux desktop.

It is read by a short-lived process, ``keychain_reader``. Asking a keychain blocks, for as long as
a question on the screen is unanswered or for ever; a process can be ended then, a thread cannot.
Nor does the proxy need to load what talks to a keychain, or to have a desktop's variables.
"""

from __future__ import annotations

import json
import os
import pwd
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tachikoma.host import process
from tachikoma.model.errors import CommandFailed, HostError, KeychainError

_MACOS_DEADLINE_S = 60.0
"""macOS may ask its user whether we may read the item."""
_LINUX_DEADLINE_S = 15.0
"""Nobody is asked anything there."""
_HANDED_ON = ("HOME", "USER", "LOGNAME", "XDG_RUNTIME_DIR")
_BUS = "DBUS_SESSION_BUS_ADDRESS"
_LONGEST_WHY = 160
_NAMES = {"darwin": "macOS Keychain", "linux": "Secret Service"}


def reader_argv() -> list[str]:
    """Give the command line of the reader; what it is to read goes to its standard input."""
    # -P and a neutral directory: nothing is imported from where we stand
    return [sys.executable, "-P", "-m", "tachikoma.credentials.keychain_reader"]


def login_name(environment: Mapping[str, str]) -> str:
    """Give the name of this user, which is the account name of Claude Code's items."""
    named = environment.get("USER") or environment.get("LOGNAME")
    if named:
        return named
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a container's user that no file knows
        return str(os.geteuid())


def bus_address(environment: Mapping[str, str]) -> str | None:
    """Give the address of the user's D-Bus session, None where there is none."""
    if given := environment.get(_BUS):
        return given
    runtime = environment.get("XDG_RUNTIME_DIR", "")
    usual = Path(runtime) / "bus"
    return f"unix:path={usual}" if runtime.startswith("/") and usual.is_socket() else None


class OsKeychain:
    """The keychain that ``platform`` (as in ``sys.platform``) has, seen from ``environment``.

    An error with a hint tells of a keychain that is there and cannot be read; one without, that
    there is none.
    """

    def __init__(
        self, *, environment: Mapping[str, str], platform: str, deadline_s: float | None = None
    ) -> None:
        self._environment = environment
        self._platform = platform
        usual_s = _MACOS_DEADLINE_S if platform == "darwin" else _LINUX_DEADLINE_S
        self._deadline_s: Final = deadline_s or usual_s

    @property
    def name(self) -> str:
        """How its makers call it."""
        return _NAMES.get(self._platform, "OS keychain")

    async def read(self, services: Sequence[str], account: str) -> Mapping[str, str]:
        """Have the reader look up the items.

        Raises:
            KeychainError: it cannot be asked, is locked, or does not answer in time.
        """
        wanted = json.dumps({"services": list(services), "account": account})
        try:
            done = await process.run(
                reader_argv(),
                stdin=wanted.encode("ascii"),
                deadline_s=self._deadline_s,
                env=self._variables(),
                cwd=Path("/"),
                check=False,
            )
        except CommandFailed as error:
            raise KeychainError(
                f"did not answer within {self._deadline_s:g} s",
                hint="answer the question that it has put on the screen, or unlock it",
            ) from error
        except HostError as error:
            raise KeychainError(error.message, hint=error.hint) from error
        return _decode(done)

    def _variables(self) -> dict[str, str]:
        """Give what the reader needs of the user's environment, which is no credential."""
        if self._platform not in _NAMES:
            raise KeychainError("this system has none that is known here")
        kept = {name: self._environment[name] for name in _HANDED_ON if name in self._environment}
        if self._platform != "linux":
            return kept
        if (address := bus_address(self._environment)) is None:
            raise KeychainError("no desktop session (D-Bus) here")
        return kept | {_BUS: address}


def _decode(done: process.Completed) -> Mapping[str, str]:
    """Give the items of the reader's answer.

    Raises:
        KeychainError: it gives a reason instead, or is none.
    """
    try:
        answer = json.loads(done.stdout) if done.status == 0 else {}
    except ValueError:
        answer = {}  # the decoder's message may quote an item
    items = answer.get("items")
    if isinstance(items, dict):
        return items
    if isinstance(why := answer.get("why"), str):
        raise KeychainError(why[:_LONGEST_WHY], hint=str(answer.get("hint", "")))
    said = process.redacted(done.stderr.decode("utf-8", "replace")).strip().splitlines()
    last = f": {said[-1][:_LONGEST_WHY]}" if said else ""
    raise KeychainError(
        f"cannot be read (the reader ended with status {done.status}{last})",
        hint="`tachikoma credentials` tries it again",
    )
