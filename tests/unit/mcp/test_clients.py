from __future__ import annotations

from pathlib import Path

import pytest

from tachikoma.mcp.clients import Client, Scope, add_argv, entry, is_same, place, remove_argv

HOME, PROJECT = Path("/home/u"), Path("/src/app")


@pytest.mark.parametrize(
    ("client", "user", "project", "table"),
    [
        (Client.CLAUDE, "/home/u/.claude.json", "/src/app/.mcp.json", "mcpServers"),
        (Client.CURSOR, "/home/u/.cursor/mcp.json", "/src/app/.cursor/mcp.json", "mcpServers"),
        (
            Client.VSCODE,
            "/home/u/.config/Code/User/mcp.json",
            "/src/app/.vscode/mcp.json",
            "servers",
        ),
    ],
)
def test_each_client_keeps_its_servers_in_a_place_of_its_own(
    client: Client, user: str, project: str, table: str
) -> None:
    for scope, file in ((Scope.USER, user), (Scope.PROJECT, project)):
        found = place(client, scope, environ={}, home=HOME, project=PROJECT, macos=False)
        assert (str(found.file), found.path) == (file, (table, "tachikoma"))


def test_a_client_may_keep_its_configuration_elsewhere() -> None:
    environ = {"CLAUDE_CONFIG_DIR": "/c", "XDG_CONFIG_HOME": "/x"}
    user = Scope.USER
    claude = place(Client.CLAUDE, user, environ=environ, home=HOME, project=None, macos=False)
    code = place(Client.VSCODE, user, environ=environ, home=HOME, project=None, macos=False)
    mac = place(Client.VSCODE, user, environ=environ, home=HOME, project=None, macos=True)
    assert claude.file == Path("/c/.claude.json")
    assert code.file == Path("/x/Code/User/mcp.json")
    assert mac.file == HOME / "Library/Application Support/Code/User/mcp.json"


def test_a_user_starts_this_very_program_and_a_project_whichever_is_installed() -> None:
    assert entry(Client.CURSOR, Scope.USER, ["/v/python", "-m", "tachikoma"]) == {
        "type": "stdio",
        "command": "/v/python",
        "args": ["-m", "tachikoma", "mcp"],
    }
    for client, here in ((Client.CLAUDE, "."), (Client.VSCODE, "${workspaceFolder}")):
        assert entry(client, Scope.PROJECT, ["/v/tachikoma"]) == {
            "type": "stdio",
            "command": "tachikoma",
            "args": ["mcp", "--repo", here],
        }


def test_claude_code_is_told_by_its_own_program() -> None:
    wanted = entry(Client.CLAUDE, Scope.USER, ["/v/tachikoma"])
    assert add_argv(Scope.USER, wanted) == [
        *["claude", "mcp", "add", "--scope", "user", "tachikoma", "--", "/v/tachikoma", "mcp"]
    ]
    assert remove_argv(Scope.PROJECT) == [
        *["claude", "mcp", "remove", "--scope", "project", "tachikoma"]
    ]


def test_an_entry_is_the_same_whatever_else_it_says() -> None:
    wanted = entry(Client.CLAUDE, Scope.USER, ["t"])
    assert is_same({**wanted, "env": {}}, wanted)
    assert not is_same({**wanted, "args": []}, wanted)
    assert not is_same(None, wanted)
