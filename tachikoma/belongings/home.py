"""The user's things where they are: in the home directory, and in what ``gh`` keeps."""

from __future__ import annotations

import asyncio
import os
import re
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from tachikoma.belongings.port import LARGEST_SCRIPT, ClaudeFiles, Script
from tachikoma.host import process
from tachikoma.host.files import from_os_error
from tachikoma.model.errors import ConfigError

_LARGEST_FILE = 64 << 20
_GH_DEADLINE_S = 20.0
_GH_READS = ("GH_TOKEN", "GITHUB_TOKEN", "GH_HOST", "GH_CONFIG_DIR", "DBUS_SESSION_BUS_ADDRESS")
"""Variables of ``gh`` itself, and the way to the keyring in which it may keep its token."""


class HomeBelongings:
    """Reads the home directory ``home``; ``environment`` is the user's."""

    def __init__(self, *, home: Path, environment: Mapping[str, str]) -> None:
        self._environment = environment
        own = environment.get("CLAUDE_CONFIG_DIR", "")
        self._claude = Path(own) if own.startswith("/") else home / ".claude"
        # With a directory of its own, Claude Code keeps this file in it, too.
        self._state = (self._claude if own.startswith("/") else home) / ".claude.json"

    @property
    def environment(self) -> Mapping[str, str]:
        """The user's environment variables."""
        return self._environment

    async def directories(self, names: Sequence[str]) -> tuple[Path, ...]:
        """Find those that exist; one may be a symbolic link to a directory elsewhere."""
        places = [self._claude / name for name in dict.fromkeys(names)]
        return await asyncio.to_thread(lambda: tuple(each for each in places if each.is_dir()))

    async def memory(self, project: Path) -> Path | None:
        """Find the directory that Claude Code names after the path of the project."""
        place = self._claude / "projects" / slug(project) / "memory"
        return place if await asyncio.to_thread(place.is_dir) else None

    async def claude_files(self) -> ClaudeFiles:
        """Read both files."""
        return ClaudeFiles(
            settings=await asyncio.to_thread(_text, self._claude / "settings.json"),
            state=await asyncio.to_thread(_text, self._state),
        )

    async def github_token(self) -> str:
        """Ask ``gh``, which may have it in the system's keyring."""
        env = {name: self._environment[name] for name in _GH_READS if name in self._environment}
        done = await process.run(["gh", "auth", "token"], deadline_s=_GH_DEADLINE_S, env=env)
        return done.text.strip()

    async def script(self, path: Path) -> Script:
        """Read it."""
        return Script(path.name, await asyncio.to_thread(_script, path))


def slug(project: Path) -> str:
    """Give the name under which Claude Code keeps what belongs to a project."""
    return re.sub(r"[^a-zA-Z0-9]", "-", str(project))


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST_FILE).decode("utf-8", "replace")
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        raise from_os_error(error, path) from error


def _script(path: Path) -> bytes:
    """Give what is in the file. It may lie in a repository: nothing but a file is waited for."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _no_script(path, f"it cannot be read: {error.strerror}") from error
    try:
        seen = os.fstat(descriptor)
        if not stat.S_ISREG(seen.st_mode):
            raise _no_script(path, "it is no ordinary file")
        if seen.st_size > LARGEST_SCRIPT:
            raise _no_script(path, f"it is larger than {LARGEST_SCRIPT >> 10} KiB")
        return os.read(descriptor, LARGEST_SCRIPT)
    except OSError as error:
        raise _no_script(path, f"it cannot be read: {error.strerror}") from error
    finally:
        os.close(descriptor)


def _no_script(path: Path, why: str) -> ConfigError:
    return ConfigError(
        f"the provision script {path} cannot be used: {why}",
        hint="correct provision_scripts; `tachikoma config` shows which file sets it",
    )
