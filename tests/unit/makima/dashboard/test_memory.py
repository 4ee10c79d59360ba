from __future__ import annotations

import pytest

from tachikoma.makima.dashboard.memory import MemoryHost
from tachikoma.makima.dashboard.port import HostView
from tachikoma.makima.dashboard.requests import shown
from tachikoma.model.errors import TachikomaError

AT = "2026-11-21T12:00:00+00:00"


async def test_it_gives_what_it_was_given_the_latest_first() -> None:
    lines = [
        {"time": AT, "vm": "v", "branch": "b", "verdict": verdict, "host": "h"}
        for verdict in ("denied", "forwarded")
    ]
    recorded = tuple(each for at, line in enumerate(lines) if (each := shown(at, line)))
    host: HostView = MemoryHost(recorded=recorded)
    assert await host.vms() == ()
    found = await host.requests(most=9, denied=False, vm=None)
    assert [each.id for each in found.items] == [1, 0]
    assert [each.id for each in (await host.requests(most=9, denied=True, vm="b")).items] == [0]
    assert (await host.requests(most=9, denied=False, vm="other")).items == ()
    assert [each.host for each in found.denied_hosts] == ["h"]


async def test_it_fails_as_it_is_told() -> None:
    host = MemoryHost(fault=TachikomaError("no engine", hint="install one"))
    with pytest.raises(TachikomaError, match="no engine"):
        await host.vms()
    with pytest.raises(TachikomaError, match="no engine"):
        await host.requests(most=1, denied=False, vm=None)
