"""What the heart may ask for of the user's own things. What of it enters a VM is decided there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

LARGEST_SCRIPT = 256 << 10
"""A provision script is sent to the VM whole, at every start."""


@dataclass(frozen=True, slots=True)
class ClaudeFiles:
    """The text of two files of the host's Claude Code, "" for one that is not there.

    ``settings`` is ~/.claude/settings.json, ``state`` is ~/.claude.json. Both may hold secrets.
    """

    settings: str = field(default="", repr=False)
    state: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Script:
    """A provision script: the name of its file, and what is in it."""

    name: str
    content: bytes = field(repr=False)


class Belongings(Protocol):
    """The user's own things on this host. They are only read."""

    @property
    def environment(self) -> Mapping[str, str]:
        """The user's environment variables, for references to them."""
        ...

    async def directories(self, names: Sequence[str]) -> tuple[Path, ...]:
        """Find those of these directories of ~/.claude that exist, in the order of ``names``."""
        ...

    async def memory(self, project: Path) -> Path | None:
        """Find the directory in which Claude Code keeps what it remembers of ``project``.

        None if it remembers nothing.
        """
        ...

    async def claude_files(self) -> ClaudeFiles:
        """Read what the host's Claude Code is set up with.

        Raises:
            HostError: a file is there and cannot be read.
        """
        ...

    async def github_token(self) -> str:
        """Ask the host's ``gh`` for its token.

        Raises:
            MissingToolError: there is no ``gh``.
            CommandFailed: it is not logged in.
        """
        ...

    async def script(self, path: Path) -> Script:
        """Read a provision script.

        Raises:
            ConfigError: it is not there, no file, or too large.
        """
        ...
