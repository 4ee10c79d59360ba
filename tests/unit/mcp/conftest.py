from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.stand import CommandLine


@pytest.fixture
def line(own_home: Path) -> CommandLine:
    return CommandLine(own_home)
