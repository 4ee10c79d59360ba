from __future__ import annotations

from pathlib import Path

from tachikoma.cli.makima.fleet import fleet
from tests.unit.cli.makima.records import running
from tests.unit.cli.stand import CommandLine, Output


async def test_the_fleet_is_what_the_composition_root_joins(line: CommandLine) -> None:
    line.tasks = lambda: [running()]
    with Output() as out, Output() as err:
        found = fleet(line.door(out, err))
        assert await found.makima_tasks(Path("/book.db")) == [running()]
