"""The file in which the host's Claude Code keeps its OAuth token."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tachikoma.credentials.port import Credential, Finding, Kind
from tachikoma.credentials.sign_in import EXPIRED, NobodySignedIn, decode
from tachikoma.host.clock import Clock

_LARGEST_FILE = 1 << 20


def credentials_file(environment: Mapping[str, str], home: Path) -> Path:
    """Give the path where the Claude Code of this host keeps its sign-in."""
    directory = environment.get("CLAUDE_CONFIG_DIR", "")
    return (Path(directory) if directory else home / ".claude") / ".credentials.json"


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
            text = await asyncio.to_thread(_read, self.file)
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


def _read(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(_LARGEST_FILE)
