"""Some rounds of crashes on this host, always the same; `make crashes` runs many, also with VMs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.live import crash_findings
from tests.live.crash_plans import scenario
from tests.live.crash_rounds import Host, round_at

pytestmark = [pytest.mark.live, pytest.mark.timeout(90)]


@pytest.fixture
def host(own_home: Path) -> Host:
    for name, value in (("user.name", "A. User"), ("user.email", "user@example.org")):
        subprocess.run(["git", "config", "--global", name, value], check=True)
    return Host(own_home, dict(os.environ))


@pytest.mark.parametrize("seed", [126, 141, 220, 394, 399, 817])
async def test_whatever_is_killed_every_task_ends_once_and_nothing_is_lost(
    host: Host, seed: int
) -> None:
    async with round_at(host, host.home / "round", scenario(seed, vm=False)) as one:
        before = {job: crash_findings.picture(one.target(job)) for job in one.scenario.jobs}
        await one.play()
        await crash_findings.check(one, before)
