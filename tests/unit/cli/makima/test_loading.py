from __future__ import annotations

from pathlib import Path

from tachikoma.cli.makima.loading import load, load_with_warnings
from tachikoma.makima.variables import Given
from tests.unit.cli.stand import CommandLine, Output


def test_options_are_part_of_it_and_warnings_are_told_on_demand(line: CommandLine) -> None:
    file = line.home / "fleet.toml"
    file.write_text("[server]\napi_key = 'k'\n")
    file.chmod(0o644)
    with Output() as out, Output() as err:
        door = line.door(out, err)
        option = Given("server.url", "ws://localhost", "--server-url")
        loaded = load(door, Path("~/fleet.toml"), [option])
        assert loaded.sources["server.url"] == "--server-url"
        assert err.text() == ""
        load_with_warnings(door, file)
        assert f"chmod 600 {file}" in err.text()
