"""The command line that most tests here type into."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tachikoma.cli.door import Door
from tests.unit.cli.stand import CommandLine, Output


@pytest.fixture
def line(own_home: Path) -> CommandLine:
    return CommandLine(own_home)


@pytest.fixture
def door(line: CommandLine) -> Iterator[Door]:
    """What a command of ``line`` is handed, with both outputs going nowhere."""
    with Output() as out, Output() as err:
        yield line.door(out, err)
