"""MCP clients: where each keeps its servers, and what an entry for ours looks like (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

NAME = "tachikoma"
"""What our server is called in every client."""


class Client(StrEnum):
    """A program that can use the server."""

    CLAUDE = "claude"
    CURSOR = "cursor"
    VSCODE = "vscode"

    @property
    def label(self) -> str:
        """What people call it."""
        return {"claude": "Claude Code", "cursor": "Cursor", "vscode": "VS Code"}[self.value]


class Scope(StrEnum):
    """Whether the server is there in all of a user's projects, or in one for all its users."""

    USER = "user"
    PROJECT = "project"


@dataclass(frozen=True, slots=True)
class Place:
    """A JSON file, and the path of our entry in it."""

    file: Path
    path: tuple[str, str]


def place(
    client: Client,
    scope: Scope,
    *,
    environ: Mapping[str, str],
    home: Path,
    project: Path | None,
    macos: bool,
) -> Place:
    """Say where ``client`` keeps its servers; ``project`` is needed for that scope only."""
    if scope is Scope.PROJECT:
        assert project is not None
        files = {
            Client.CLAUDE: project / ".mcp.json",
            Client.CURSOR: project / ".cursor" / "mcp.json",
            Client.VSCODE: project / ".vscode" / "mcp.json",
        }
    else:
        claude = environ.get("CLAUDE_CONFIG_DIR", "")
        config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
        code = home / "Library" / "Application Support" if macos else config
        files = {
            Client.CLAUDE: (Path(claude) if claude else home) / ".claude.json",
            Client.CURSOR: home / ".cursor" / "mcp.json",
            Client.VSCODE: code / "Code" / "User" / "mcp.json",
        }
    table = "servers" if client is Client.VSCODE else "mcpServers"
    return Place(files[client], (table, NAME))


def entry(client: Client, scope: Scope, program: Sequence[str]) -> dict[str, object]:
    """Say how ``client`` starts the server.

    In a project's own file, which others share, the program is called by its name and is kept to
    the project's repository.
    """
    if scope is Scope.USER:
        command, *arguments = [*program, "mcp"]
    else:
        here = "." if client is Client.CLAUDE else "${workspaceFolder}"
        command, *arguments = ["tachikoma", "mcp", "--repo", here]
    return {"type": "stdio", "command": command, "args": arguments}


def add_argv(scope: Scope, wanted: Mapping[str, object]) -> list[str]:
    """Give the argv with which Claude Code's own program adds the server."""
    arguments = wanted["args"]
    assert isinstance(arguments, list)
    return [
        *["claude", "mcp", "add", "--scope", scope.value, NAME],
        *["--", str(wanted["command"]), *arguments],
    ]


def remove_argv(scope: Scope) -> list[str]:
    """Give the argv with which Claude Code's own program removes the server."""
    return ["claude", "mcp", "remove", "--scope", scope.value, NAME]


def is_same(found: object, wanted: Mapping[str, object]) -> bool:
    """Tell whether an entry starts the same thing, whatever else it says."""
    return isinstance(found, dict) and all(
        found.get(key) == wanted[key] for key in ("command", "args")
    )
