"""Many streams at once and a proxy that is killed under them: small, what `make streams` does."""

from __future__ import annotations

import pytest

from bench import streams

pytestmark = [pytest.mark.live, pytest.mark.timeout(60)]


async def test_every_event_of_every_stream_arrives_in_order() -> None:
    async with streams.stage() as proxy:
        outcome = await streams.run(proxy, streams=100, seconds=1)
    assert (outcome.whole, outcome.events, dict(outcome.faults)) == (100, 2000, {})


async def test_a_proxy_that_is_killed_under_load_is_replaced_and_tears_no_line() -> None:
    async with streams.stage() as proxy:
        assert await streams.killed(proxy, streams=100) == []
