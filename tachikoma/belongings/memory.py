"""Belongings in memory, for tests and for synthetic VMs: a user who has what it is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tachikoma.belongings.port import ClaudeFiles, Script
from tachikoma.model.errors import ConfigError, MissingToolError


class MemoryBelongings:
    """Has nothing until it is given something; every attribute may be changed at any time."""

    def __init__(self) -> None:
        self.claude = Path("/home/ada/.claude")
        self.shared: set[str] = set()
        self.remembers: dict[Path, Path] = {}
        self.files = ClaudeFiles()
        self.token = ""
        self.scripts: dict[Path, bytes] = {}
        self.variables: dict[str, str] = {}

    @property
    def environment(self) -> Mapping[str, str]:
        """Give ``variables``."""
        return self.variables

    async def directories(self, names: Sequence[str]) -> tuple[Path, ...]:
        """Give those of ``shared``."""
        return tuple(self.claude / name for name in names if name in self.shared)

    async def memory(self, project: Path) -> Path | None:
        """Give what ``remembers`` says."""
        return self.remembers.get(project)

    async def claude_files(self) -> ClaudeFiles:
        """Give ``files``."""
        return self.files

    async def github_token(self) -> str:
        """Give ``token``; without one there is no ``gh``."""
        if not self.token:
            raise MissingToolError("the program gh is not installed", hint="install it")
        return self.token

    async def script(self, path: Path) -> Script:
        """Give what ``scripts`` holds."""
        if path not in self.scripts:
            raise ConfigError(f"the provision script {path} cannot be used", hint="correct it")
        return Script(path.name, self.scripts[path])
