from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.unit.cli.stand import CommandLine

HELLO = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "test", "version": "1"},
}


@pytest.fixture
def cursor(line: CommandLine) -> Path:
    return line.home / ".cursor" / "mcp.json"


def spoken_to(line: CommandLine, *messages: dict[str, object]) -> None:
    """Let these messages and the end stand on standard input."""
    reading, writing = os.pipe()
    for number, message in enumerate(messages, 1):
        whole = {"jsonrpc": "2.0", "id": number, **message}
        os.write(writing, json.dumps(whole).encode() + b"\n")
    os.close(writing)
    line.stdin = reading


def test_it_answers_a_client_and_ends_with_it(line: CommandLine) -> None:
    spoken_to(line, {"method": "initialize", "params": HELLO})
    ran = line("mcp")
    assert (ran.status, ran.err) == (0, "")
    (answer,) = map(json.loads, ran.out.splitlines())
    assert answer["id"] == 1
    assert answer["result"]["serverInfo"]["name"] == "tachikoma"
    assert answer["result"]["capabilities"]["resources"] == {
        "listChanged": True,
        "subscribe": True,
    }


def test_a_directory_without_a_repository_is_an_error_before_anything_is_said(
    line: CommandLine,
) -> None:
    spoken_to(line)
    ran = line("mcp", "--repo", "/nowhere")
    assert (ran.status, ran.out) == (1, "")
    assert "error: " in ran.err


def test_without_standard_input_it_says_what_is_missing(line: CommandLine) -> None:
    assert line("mcp", "--json").error["code"] == "cli.usage"


def test_a_client_is_set_up_once_and_forgets_again(line: CommandLine, cursor: Path) -> None:
    first = line("mcp", "install", "--client", "cursor", "--yes")
    assert first.status == 0
    assert '+    "tachikoma": {' in first.out
    assert "Cursor can use this server from its next start on" in first.out
    made = json.loads(cursor.read_text())["mcpServers"]["tachikoma"]
    assert made["args"][-1] == "mcp"
    again = line("mcp", "install", "--client", "cursor", "--json")
    assert (again.envelope["command"], again.data["changed"]) == ("mcp install", False)
    gone = line("mcp", "uninstall", "--client", "cursor", "--yes", "--json")
    assert (gone.data["changed"], gone.data["file"]) == (True, str(cursor))
    assert json.loads(cursor.read_text()) == {"mcpServers": {}}


def test_it_shows_and_asks_before_it_changes_anything(line: CommandLine, cursor: Path) -> None:
    line.answer = "n\n"
    asked = line("mcp", "install", "--client", "cursor", tty=True)
    assert asked.status == 1
    assert "nothing was changed" in asked.err
    assert '+    "tachikoma": {' in asked.err
    assert not cursor.exists()
    line.answer = "y\n"
    assert line("mcp", "install", "--client", "cursor", tty=True).status == 0
    assert cursor.exists()


def test_a_dry_run_only_shows(line: CommandLine, cursor: Path) -> None:
    ran = line("mcp", "install", "--client", "cursor", "--dry-run")
    assert (ran.status, '"command": ' in ran.out) == (0, True)
    assert not cursor.exists()


def test_with_nobody_to_ask_it_wants_a_yes(line: CommandLine, cursor: Path) -> None:
    assert line("mcp", "install", "--client", "cursor").status == 2
    assert not cursor.exists()


def test_a_project_has_a_file_of_its_own(line: CommandLine, tmp_path: Path) -> None:
    line.cwd = tmp_path / "box"
    line.cwd.mkdir()
    line.git.add_repository(line.cwd)
    assert line("mcp", "install", "--scope", "project", "--client", "vscode", "-y").status == 0
    made = json.loads((line.cwd / ".vscode" / "mcp.json").read_text())
    assert made["servers"]["tachikoma"] == {
        "type": "stdio",
        "command": "tachikoma",
        "args": ["mcp", "--repo", "${workspaceFolder}"],
    }
