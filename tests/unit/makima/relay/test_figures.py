from __future__ import annotations

from uuid import UUID

from prometheus_client.parser import text_string_to_metric_families

from tachikoma.makima.commands import SpawnTask
from tachikoma.makima.relay.board import Board
from tachikoma.makima.relay.entries import Known
from tachikoma.makima.relay.figures import Figures


def samples(figures: Figures) -> dict[str, float]:
    text = figures.text(connected=True).decode()
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_figures_are_those_of_the_board_at_that_moment() -> None:
    board = Board(Known(), now=lambda: 0.0, monotonic=lambda: 0.0, new_id=lambda: UUID(int=9))
    figures = Figures(board)
    assert samples(figures)["makima_relay_tasks_pending"] == 0
    board.take(
        SpawnTask(task_id=UUID(int=1), plan="p", task_name="n", depth=0, is_orchestrator=False)
    )
    figures.unsent = (3, 4000)
    told = samples(figures)
    assert told["makima_relay_tasks_pending"] == 1
    assert told["makima_relay_tasks_received_total"] == 1
    assert told["makima_relay_outbox_messages"] == 3
    assert told["makima_relay_outbox_bytes"] == 4000
    assert told["makima_relay_upstream_connected"] == 1
