"""A command line that is logged in to a server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tachikoma.host.clock import SystemClock
from tachikoma.makima.client.account import Account, account_file, keep
from tests.unit.cli.crew import at_work
from tests.unit.cli.stand import CommandLine
from tests.unit.makima.server.stage import Team


@pytest.fixture(scope="session")
def crew() -> Iterator[Team]:
    with at_work() as made:
        yield made


@pytest.fixture
def typed(line: CommandLine, crew: Team) -> CommandLine:
    """A command line that is logged in."""
    config = line.home / ".config" / "tachikoma"
    keep(account_file(config), Account(crew.base, crew.user_key))
    line.clock = SystemClock()  # type: ignore[assignment]  # a real server answers in real time
    return line
