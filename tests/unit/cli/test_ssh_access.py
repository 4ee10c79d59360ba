from __future__ import annotations

import sys
from pathlib import Path

from tachikoma.cli.door import Door
from tachikoma.cli.ssh_access import access, config_file, program
from tests.unit.cli.stand import CommandLine


def test_the_program_is_found_from_anywhere() -> None:
    first, *rest = program()
    assert Path(first).is_absolute()
    assert (Path(first).name, rest) == ("tachikoma", []) or (
        first == sys.executable and rest == ["-P", "-m", "tachikoma"]
    )


def test_access_names_the_vms_that_there_are(line: CommandLine, door: Door) -> None:
    line("spawn", "x")
    line("spawn")
    door.run(lambda runtime: runtime.load_settings())
    told = access(door.runtime)
    assert list(told.vms) == ["tachikoma-box-main", "tachikoma-box-x"]
    assert told.connect[-2:] == ("ssh", "connect")
    assert not config_file(door.runtime).installed()
