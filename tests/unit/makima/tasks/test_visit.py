from __future__ import annotations

import pytest

from tachikoma.makima.tasks.visit import Answer, BrokenError, Way, visiting


def test_a_status_is_a_number_or_none() -> None:
    assert [Answer({"status": given}).status() for given in (3, None, "3")] == [3, None, None]


@pytest.mark.live
async def test_a_way_that_ends_before_the_greeting_is_broken() -> None:
    with pytest.raises(BrokenError, match="nobody answers there"):
        async with visiting(Way(["true"])):
            pass
    with pytest.raises(BrokenError, match="no route"):
        async with visiting(Way(["sh", "-c", "echo no route >&2"])):
            pass


@pytest.mark.live
async def test_whoever_makes_noise_without_end_is_not_waited_for() -> None:
    with pytest.raises(BrokenError):
        async with visiting(Way(["yes"])):
            pass
