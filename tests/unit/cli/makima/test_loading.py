from __future__ import annotations

from pathlib import Path

from tachikoma.cli.makima.loading import load
from tachikoma.makima.variables import Given
from tests.unit.cli.stand import CommandLine, Output


def test_a_file_of_the_users_and_options_are_part_of_it(line: CommandLine) -> None:
    file = line.home / "fleet.toml"
    file.write_text("[server]\napi_key = 'k'\n")
    with Output() as out, Output() as err:
        option = Given("server.url", "ws://localhost", "--server-url")
        loaded = load(line.door(out, err), Path("~/fleet.toml"), [option])
        assert (out.text(), err.text()) == ("", "")
    assert loaded.sources["server.api_key"] == str(file)
    assert loaded.sources["server.url"] == "--server-url"
