from __future__ import annotations

from pathlib import Path

import pytest

from tachikoma.host.alone import alone
from tachikoma.host.clock import FakeClock


async def test_only_one_holds_it_at_a_time(tmp_path: Path) -> None:
    clock = FakeClock()
    path = tmp_path / "deep" / "lock"
    async with alone(path, clock=clock, deadline_s=1.0):
        with pytest.raises(TimeoutError):
            async with alone(path, clock=clock, deadline_s=1.0):
                pytest.fail("two at once")
    async with alone(path, clock=clock, deadline_s=0.0):
        assert path.exists()
