from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tachikoma.mcp.clients import Client, Place, Scope, entry
from tachikoma.mcp.install import apply, change, program
from tachikoma.model.errors import ClientConfigError

WANTED = entry(Client.CURSOR, Scope.USER, ["/v/tachikoma"])


@pytest.fixture
def where(tmp_path: Path) -> Place:
    return Place(tmp_path / "deep" / "mcp.json", ("mcpServers", "tachikoma"))


def change_of(where: Place, wanted: dict[str, object] | None = WANTED) -> list[str]:
    return change(Client.CURSOR, Scope.USER, wanted, where, directory=Path("/")).told()


async def put(where: Place, wanted: dict[str, object] | None = WANTED) -> bool:
    made = change(Client.CURSOR, Scope.USER, wanted, where, directory=Path("/"))
    await apply(made, {})
    return made.needed


async def test_an_entry_is_put_in_once_and_taken_out_again(where: Place) -> None:
    assert await put(where) is True
    first = where.file.read_text()
    assert '"command": "/v/tachikoma"' in first
    assert where.file.stat().st_mode & 0o777 == 0o600
    assert await put(where) is False
    assert where.file.read_text() == first
    assert await put(where, None) is True
    assert await put(where, None) is False
    assert where.file.read_text() == '{\n  "mcpServers": {}\n}\n'


async def test_a_file_keeps_its_mode_its_link_and_all_else(where: Place, tmp_path: Path) -> None:
    real = tmp_path / "dotfiles.json"
    real.write_text('{"theme":"dark","mcpServers":{"a":{"command":"x"}}}')
    real.chmod(0o640)
    where.file.parent.mkdir()
    where.file.symlink_to(real)
    await put(where)
    assert where.file.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert real.read_text().startswith('{"theme":"dark","mcpServers":{"a":{"command":"x"},')
    await put(where, None)
    assert real.read_text() == '{"theme":"dark","mcpServers":{"a":{"command":"x"}}}'


def test_what_will_be_changed_is_shown_as_a_difference(where: Place) -> None:
    where.file.parent.mkdir()
    where.file.write_text('{\n  "mcpServers": {\n    "a": {}\n  }\n}\n')
    shown = change_of(where)
    assert shown[0] == f"--- {where.file}"
    assert '+    "tachikoma": {' in shown
    assert change_of(where, None) == []


@pytest.mark.parametrize("text", [b"// settings\n{}", b"[]", b'{"mcpServers": 7}', b"\xff"])
def test_a_file_that_is_not_plain_json_is_left_as_it_is(where: Place, text: bytes) -> None:
    where.file.parent.mkdir()
    where.file.write_bytes(text)
    with pytest.raises(ClientConfigError, match="left as it is"):
        change_of(where)
    assert where.file.read_bytes() == text


async def test_a_file_that_changed_meanwhile_is_not_overwritten(where: Place) -> None:
    made = change(Client.CURSOR, Scope.USER, WANTED, where, directory=Path("/"))
    where.file.parent.mkdir()
    where.file.write_text("{}")
    with pytest.raises(ClientConfigError, match="changed by somebody else"):
        await apply(made, {})
    assert where.file.read_text() == "{}"


def test_the_program_is_named_so_that_it_is_found_from_everywhere(tmp_path: Path) -> None:
    called = tmp_path / "tachikoma"
    assert program([str(called)]) == [sys.executable, "-m", "tachikoma"]
    called.touch(mode=0o755)
    assert program([str(called)]) == [str(called)]
    assert program(["/v/lib/tachikoma/__main__.py"]) == [sys.executable, "-m", "tachikoma"]
