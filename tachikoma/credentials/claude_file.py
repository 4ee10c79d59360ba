"""The files in which the host's Claude Code keeps its OAuth token, or its Console's API key."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tachikoma.credentials.port import Credential, Finding, Kind
from tachikoma.credentials.sign_in import EXPIRED, NobodySignedIn, decode, one_word
from tachikoma.host.clock import Clock

_LARGEST_FILE = 1 << 20
_LARGEST_STATE = 64 << 20
"""It also holds histories, of every project."""


def credentials_file(environment: Mapping[str, str], home: Path) -> Path:
    """Give the path where the Claude Code of this host keeps its sign-in."""
    directory = environment.get("CLAUDE_CONFIG_DIR", "")
    return (Path(directory) if directory else home / ".claude") / ".credentials.json"


def state_file(environment: Mapping[str, str], home: Path) -> Path:
    """Give the path of what else the Claude Code of this host remembers."""
    directory = environment.get("CLAUDE_CONFIG_DIR", "")
    return (Path(directory) if directory else home) / ".claude.json"


@dataclass(frozen=True, slots=True)
class ClaudeFileSource:
    """The sign-in in ``file``.

    Only read: a refresh token works once, so refreshing is left to its owner, and the new
    token is seen because the file changes.
    """

    file: Path
    clock: Clock

    @property
    def name(self) -> str:
        """How the source is called in words and logs."""
        return str(self.file)

    def stamp(self) -> object:
        """Give what changes when Claude Code writes the file anew."""
        try:
            seen = self.file.stat()
        except OSError:
            return None
        return seen.st_mtime_ns, seen.st_size, seen.st_ino

    async def look(self) -> Finding:
        """Read the file."""
        try:
            text = await asyncio.to_thread(_read, self.file, _LARGEST_FILE)
        except FileNotFoundError:
            return Finding(self.name, None, "does not exist")
        except OSError as error:
            return self._unusable(f"cannot be read: {error.strerror}")
        try:
            found = decode(text)
        except NobodySignedIn as error:
            return Finding(self.name, None, str(error))
        except ValueError as error:
            return self._unusable(str(error))
        if found.expires is not None and found.expires <= self.clock.now():
            return self._unusable(EXPIRED)
        return Finding(self.name, Credential(Kind.OAUTH, found.token, self.name, found.expires))

    def _unusable(self, why: str) -> Finding:
        return Finding(self.name, None, why, warning=True)


@dataclass(frozen=True, slots=True)
class ConsoleKeySource:
    """The API key in ``file`` that a sign-in with a Console account leaves where no keychain is."""

    file: Path

    @property
    def name(self) -> str:
        """How the source is called in words and logs."""
        return str(self.file)

    def stamp(self) -> None:
        """Give nothing: Claude Code writes the file all the time, for other reasons."""

    async def look(self) -> Finding:
        """Read the file."""
        try:
            text = await asyncio.to_thread(_read, self.file, _LARGEST_STATE)
            key = await asyncio.to_thread(_console_key, text)
        except FileNotFoundError:
            return Finding(self.name, None, "does not exist")
        except OSError as error:
            return Finding(self.name, None, f"cannot be read: {error.strerror}", warning=True)
        except ValueError as error:
            return Finding(self.name, None, str(error), warning=True)
        if key is None:
            return Finding(self.name, None, "holds no API key")
        return Finding(self.name, Credential(Kind.API_KEY, key, self.name))


def _console_key(text: bytes) -> str | None:
    """Give the API key, None if there is none.

    Raises:
        ValueError: the document, or the key, is broken; says so without quoting it.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("is not JSON") from None
    key = document.get("primaryApiKey") if isinstance(document, dict) else None
    return one_word(key) if isinstance(key, str) and key.strip() else None


def _read(file: Path, most: int) -> bytes:
    with file.open("rb") as opened:
        return opened.read(most)
