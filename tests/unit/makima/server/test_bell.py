from __future__ import annotations

from tachikoma.makima.server.bell import Bells, rung_within


async def test_who_waits_for_a_thing_hears_of_it_and_nobody_else() -> None:
    bells = Bells()
    with bells.heard("a", "b") as ours, bells.heard("c") as others:
        bells.ring(["b"])
        assert await rung_within(ours, 1)
        assert not await rung_within(others, 0.001)
        ours.clear()
        bells.ring(["a"])
        assert ours.is_set()
    bells.ring(["a"])
