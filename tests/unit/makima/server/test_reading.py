from __future__ import annotations

import json

from tachikoma.makima.record import Figures
from tachikoma.makima.server.reading import Reading, Turn

END = json.dumps(
    {
        "type": "result",
        "subtype": "success",
        "is_error": False,
        "result": "Done.",
        "num_turns": 2,
        "total_cost_usd": 0.5,
        "usage": {"input_tokens": 10, "output_tokens": 5},
    }
)


def test_a_turn_that_ends_is_told_with_what_it_took() -> None:
    reading = Reading(Figures())
    assert reading.read('{"type":"assistant"}', partial=False) is None
    assert reading.read('no JSON, but "result"', partial=False) is None
    assert reading.read(END, partial=False) == Turn(Figures(2, 10, 5, 0, 0, 0.5), "Done.")
    second = reading.read(END, partial=False)
    assert second is not None
    assert second.figures.input_tokens == 20
    assert second.figures.cost_usd == 0.5


def test_a_line_may_come_in_pieces_some_of_them_earlier() -> None:
    reading = Reading(Figures(), [END[:10]])
    assert reading.read(END[10:20], partial=True) is None
    assert reading.read(END[20:], partial=False) is not None


def test_a_line_beyond_all_bounds_tells_nothing_and_costs_nothing() -> None:
    reading = Reading(Figures())
    for _ in range(40):
        assert reading.read("x" * (1 << 20), partial=True) is None
    assert reading.read(END, partial=False) is None
    assert reading.read(END, partial=False) is not None
